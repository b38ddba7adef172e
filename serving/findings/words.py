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
    "Put a valid token into {secret} (huggingface.co/settings/tokens).",
)

HUB: tuple[Signature, ...] = (
    signature(
        _MODEL,
        "token-scope",
        r"enable access to public gated repositories in your fine-grained token",
        "The token is fine-grained and may not read public gated repositories such as {repo}.",
        "Allow it in the token's settings (huggingface.co/settings/tokens: read access to public gated repositories), "
        "or put another token into {secret}.",
    ),
    signature(
        _MODEL,
        "gated",
        r"access (?:to )?(?:a )?gated repo|GatedRepoError|gated repo.*(?:401|403)|Access to model (\S+) is restricted",
        "The model's repository is gated and this token's account has no access to it: {repo}.",
        "Accept the licence on the page of {repo} (huggingface.co) with the account that owns the token.",
        "Put a token of an account with access into {secret}.",
    ),
    signature(
        _MODEL,
        "disabled",
        r"DisabledRepoError|Access to this resource is disabled",
        "The Hub has disabled {repo}.",
        "Use another model, or ask its owner: the Hub gives this one to nobody.",
    ),
    signature(
        _MODEL,
        "token",
        r"Invalid credentials|Invalid user token|LocalTokenNotFoundError|"
        r"(?:user|access) token (?:is|has) (?:invalid|expired)",
        *_TOKEN,
    ),
    signature(
        _MODEL,
        "revision",
        r"RevisionNotFoundError|Revision Not Found|Invalid rev id:? ?(\S*)|(\S+) is not a valid git identifier",
        "The repository {repo} has no such revision: {0}.",
        "Set revision to a branch, tag or commit that exists.",
    ),
    signature(
        _MODEL,
        "repository",
        r"RepositoryNotFoundError|Repository Not Found|not a local folder and is not a valid model identifier|"
        r"Invalid repository ID or local directory|HFValidationError|Repo id must (?:be in the form|use alphanumeric)",
        "The Hub has no such repository, or the token may not see it: {repo}.",
        "Correct the model's name, or use a token that may see the private repository ({secret}).",
    ),
    signature(
        _MODEL, "token", r"401 Client Error|401 Unauthorized|Unauthorized for url|Invalid username or password", *_TOKEN
    ),
    signature(
        _MODEL,
        "forbidden",
        r"403 (?:Client Error|Forbidden)\b.*(?:huggingface|hf\.co)|(?:huggingface|hf\.co)\S*.*403 Forbidden",
        "The Hub forbids the token's account to read {repo}.",
        "Let the account that owns the token see the repository, or put another token into {secret}.",
    ),
    signature(
        _MODEL,
        "rate-limit",
        r"429 (?:Client Error|Too Many Requests)|Too Many Requests for url|rate limit your IP",
        "The Hub answers that there were too many requests.",
        "Serve from the staged model (weights=sync or stream) instead of the Hub.",
        "Give the pod a token ({secret}): requests with one have a higher limit.",
        lasting=False,
    ),
    signature(
        _MODEL,
        "hub-down",
        r"HfHubHTTPError: 5\d\d|5\d\d Server Error.*(?:huggingface|hf\.co)|"
        r"50\d \S+ ?\S* ?(?:Error|Gateway|Unavailable).*huggingface",
        "The Hub has trouble of its own and answers with a server error.",
        "Wait and try again (status.huggingface.co), or serve from the staged model (weights=sync or stream).",
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
        "certificate",
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
        "The container does not trust the certificate that {host} shows: a proxy in between, as a rule.",
        "Give the container the proxy's certificate (env SSL_CERT_FILE), or serve from the staged model.",
    ),
    signature(
        _MODEL,
        "network",
        r"LocalEntryNotFoundError|couldn't connect to 'https?://|check ?(?:out )?your (?:internet )?connection|"
        r"host='huggingface\.co'.*Max retries exceeded|Failed to resolve 'huggingface\.co'",
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
        "{bucket} is in another region than the pod was told.",
        "Correct the region of the model store (AWS_REGION of the container) to that of {bucket}.",
    ),
    signature(
        _STORE,
        "credentials",
        r"NoCredentialsError|Unable to locate credentials|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|"
        r"InvalidClientTokenId|AssumeRoleWithWebIdentity|CredentialRetrievalError|RequestTimeTooSkewed|"
        r"No signing credentials|InvalidToken\b|UnrecognizedClientException|TokenRefreshRequired|InvalidIdentityToken",
        "The pod has no valid AWS credentials.",
        "Give {account} a role (Pod Identity association or IRSA), or name one that has it in service_account.",
        lasting=False,
    ),
    signature(
        _STORE,
        "denied",
        r"AccessDenied|is not authorized to perform: (s3:\w+)|\(403\) when calling the \w+|S3.*access denied|"
        r"Access Denied.*s3://|(?:Forbidden|Client error).*Access Denied|ListObjectsV2 failed.*(?:Forbidden|denied)",
        "S3 denies the pod access to the model in {bucket}.",
        "Grant {action} on {resource} to {role} (Pod Identity association or IRSA; s3:ListBucket on the bucket too).",
        "Check that service_account is the account with that role: the pod runs as {account}.",
        lasting=False,
    ),
    signature(
        _STORE,
        "missing",
        r"NoSuchBucket|NoSuchKey|The specified (?:bucket|key) does not exist|\(404\) when calling the \w+|"
        r"bucket \S* ?does not exist|[Nn]o (?:objects|files|such object|weights)\b.*s3://|Invalid bucket name",
        "{bucket} or the model's objects in it do not exist.",
        "Stage the model again, and check the name and prefix of {bucket}.",
    ),
    signature(
        _STORE,
        "archived",
        r"InvalidObjectState",
        "The model's objects in {bucket} are archived (Glacier) and cannot be read.",
        "Restore them or stage the model again, and keep the prefix out of the lifecycle rule that archives it.",
    ),
    signature(
        _STORE,
        "rate-limit",
        r"\(SlowDown\)|\(503\) when calling the \w+|ThrottlingException|reduce your request rate",
        "S3 answers that there were too many requests.",
        "Wait: S3 makes room by itself. Start fewer pods at a time, or use weights=stream.",
        lasting=False,
    ),
    signature(
        _STORE,
        "unreachable",
        r"Could not connect to the endpoint URL|EndpointConnectionError|ConnectTimeout(?:Error)?\b.*amazonaws|"
        r"Read timeout on endpoint URL",
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
