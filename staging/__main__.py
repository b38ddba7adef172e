"""``python -m staging``: models from the Hugging Face Hub into S3, without Prefect."""

import sys

# Where another package has brought pyOpenSSL, botocore imports it only to find Python's own SSLContext in it: 12 MiB
# that are not needed here.
sys.modules.setdefault("urllib3.contrib.pyopenssl", None)  # type: ignore[arg-type]

from staging.cli import main  # noqa: E402

sys.exit(main())
