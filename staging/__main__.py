"""``python -m staging``: models from the Hugging Face Hub into S3, without Prefect."""

import gc
import os
import sys

# Where another package has brought pyOpenSSL, botocore imports it only to find Python's own SSLContext in it: 12 MiB
# that are not needed here.
sys.modules.setdefault("urllib3.contrib.pyopenssl", None)  # type: ignore[arg-type]
# pydantic would look through all installed distributions for plugins.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
# Modules are no garbage. To look for it among them, while they are imported and once more at the end, is a fifth of a
# second: as long as the whole work of a run that finds everything staged.
gc.set_threshold(100_000)

from staging.cli import main  # noqa: E402

code = main()
gc.freeze()
sys.exit(code)
