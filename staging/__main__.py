"""``python -m staging``: models from the Hugging Face Hub into S3, without Prefect."""

import sys

from staging.cli import main

sys.exit(main())
