"""The patterns by which logs are read, the most telling first: Hub and S3, then those of engines and their stacks.

Texts as the programs print them: huggingface_hub and transformers, botocore and the AWS CLI, the Run:ai streamer,
vLLM, PyTorch, AWS Neuron, Ray, Triton, NIM, llama.cpp.
"""

from serving.diagnosis import Category
from serving.findings.engine_words import ENGINE, MEMORY, STACKS
from serving.findings.signatures import Signature, signature

_MODEL, _STORE = Category.MODEL_ACCESS, Category.STORE_ACCESS

_TOKEN = (
    "The Hub refuses the token: it is missing, wrong or expired.",
    "Put a valid token into Secret hf-token, key token (huggingface.co/settings/tokens).",
)

HUB: tuple[Signature, ...] = (
    signature(
        _MODEL,
        "gated",
        r"access (?:to )?(?:a )?gated repo|GatedRepoError|gated repo.*(?:401|403)|Access to model (\S+) is restricted",
        "The model's repository is gated and this token's account has no access to it.",
        "Accept the licence on the model's page with the account that owns the token.",
        "Put a token of an account with access into Secret hf-token, key token.",
    ),
    signature(
        _MODEL,
        "token",
        r"Invalid credentials|Invalid user token|LocalTokenNotFoundError|fine-grained token settings|"
        r"(?:user|access) token (?:is|has) (?:invalid|expired)",
        *_TOKEN,
    ),
    signature(
        _MODEL,
        "revision",
        r"RevisionNotFoundError|Revision Not Found|Invalid rev id|is not a valid git identifier",
        "The repository has no such revision.",
        "Set revision to a branch, tag or commit that exists.",
    ),
    signature(
        _MODEL,
        "repository",
        r"RepositoryNotFoundError|Repository Not Found|DisabledRepoError|HFValidationError|"
        r"not a local folder and is not a valid model identifier|"
        r"Invalid repository ID or local directory",
        "The Hub has no such repository, or the token may not see it.",
        "Correct the model's name, or use a token that may see the private repository (Secret hf-token).",
    ),
    signature(_MODEL, "token", r"401 Client Error|Unauthorized for url|Invalid username or password", *_TOKEN),
    signature(
        _MODEL,
        "forbidden",
        r"403 Client Error|403 Forbidden|Forbidden for url: https?://",
        "The Hub refuses this token's account access to the model.",
        "Use a token with read access to this repository (Secret hf-token, key token); accept the licence on the "
        "model's page if it has one.",
    ),
    signature(
        _MODEL,
        "hub-down",
        r"HfHubHTTPError: 5\d\d|5\d\d Server Error.*huggingface",
        "The Hub answers with an error of its own.",
        "Serve from the staged model (weights=sync or stream) instead of the Hub, or try again later.",
        lasting=False,
    ),
    signature(
        _MODEL,
        "rate-limit",
        r"429 Client Error|429 Too Many Requests|Too Many Requests for url|had to rate limit your IP",
        "The Hub answers that there were too many requests.",
        "Serve from the staged model (weights=sync or stream) instead of the Hub.",
        "Give the pod a token: requests with one have a higher limit.",
        lasting=False,
    ),
    signature(
        _MODEL,
        "offline",
        r"outgoing traffic has been disabled|offline mode is enabled",
        "The engine wants a file that the staged model does not hold, and may not ask the Hub for it.",
        "Stage the model again with that file (its patterns may leave it out).",
        "Or let this endpoint ask the Hub: env HF_HUB_OFFLINE=0.",
    ),
    signature(
        _MODEL,
        "network",
        r"LocalEntryNotFoundError|couldn't connect to 'https?://|check ?(?:out )?your (?:internet )?connection",
        "The container cannot reach the Hub.",
        "Serve from the staged model (weights=sync or stream) instead of the Hub.",
        "Check the pod's route, DNS and network policies to the Hub.",
        lasting=False,
    ),
)

S3: tuple[Signature, ...] = (
    signature(
        _STORE,
        "checksum",
        r"checksum mismatch: (\S.*?): FAILED|computed checksums? did NOT match",
        "The staged file {0} does not hold the bytes that were verified when it was staged.",
        "Stage the model again: the prefix was changed after staging.",
    ),
    signature(
        _STORE,
        "region",
        r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|BucketRegionError|"
        r"the region '[^']*' is wrong|must be addressed using the specified endpoint|\(301\) when calling",
        "The bucket is in another region than the pod was told.",
        "Correct the region of the model store.",
    ),
    signature(
        _STORE,
        "credentials",
        r"NoCredentialsError|Unable to locate credentials|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|"
        r"InvalidClientTokenId|AssumeRoleWithWebIdentity|CredentialRetrievalError|RequestTimeTooSkewed|"
        r"UnrecognizedClientException|TokenRefreshRequired|InvalidIdentityToken",
        "The pod has no valid AWS credentials.",
        "Give the pod's service account a role (Pod Identity association or IRSA) and name it in service_account.",
        lasting=False,
    ),
    signature(
        _STORE,
        "denied",
        r"AccessDenied|is not authorized to perform: (s3:\w+)|\(403\) when calling the \w+|S3.*access denied|"
        r"Access Denied.*s3://",
        "S3 denies the pod access to the model.",
        "Grant s3:GetObject and s3:ListBucket on the bucket to the role of the pod's service account "
        "(Pod Identity association or IRSA).",
        "Check that service_account is the account with that role.",
        lasting=False,
    ),
    signature(
        _STORE,
        "missing",
        r"NoSuchBucket|NoSuchKey|The specified (?:bucket|key) does not exist|\(404\) when calling the \w+|"
        r"Invalid bucket name|no (?:objects|files|such prefix)\b.* s3://",
        "The bucket or the model's objects do not exist.",
        "Stage the model again, and check the bucket's name.",
    ),
    signature(
        _STORE,
        "rate-limit",
        r"\(SlowDown\)|Please reduce your request rate|\(503\) when calling the \w+|ServiceUnavailable.*S3",
        "S3 answers that there were too many requests for this prefix.",
        "Start fewer pods at a time, or wait: S3 scales a prefix up within minutes.",
        lasting=False,
    ),
    signature(
        _STORE,
        "archived",
        r"InvalidObjectState",
        "The model's objects were moved to an archive storage class.",
        "Stage the model again, and keep lifecycle rules that archive off the model store's prefix.",
    ),
    signature(
        _STORE,
        "unreachable",
        r"Could not connect to the endpoint URL|EndpointConnectionError|ConnectTimeoutError|"
        r"Connect timeout on endpoint URL|ReadTimeoutError.*(?:amazonaws|s3)",
        "The pod cannot reach S3.",
        "Check the pod's route to S3 (VPC endpoint, NAT, network policies) and the store's endpoint_url.",
        lasting=False,
    ),
    signature(
        _STORE,
        "damaged",
        r"SafetensorError|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncompleteBuffer|"
        r"UnpicklingError|PytorchStreamReader failed",
        "A weights file is cut off or damaged.",
        "Use weights=sync, which verifies every file, and stage the model again.",
    ),
)

SIGNATURES: tuple[Signature, ...] = (*HUB, *S3, *MEMORY, *ENGINE, *STACKS)
