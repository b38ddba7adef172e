"""The patterns by which logs are read, the most telling first: Hub and S3, then those of engines and their stacks.

Texts as the programs print them: huggingface_hub and transformers, botocore and the AWS CLI, the Run:ai streamer,
vLLM, PyTorch, AWS Neuron, Ray, Triton, NIM, llama.cpp.
"""

from serving.diagnosis import Category
from serving.findings.device_words import DEVICES
from serving.findings.engine_words import ENGINE, MEMORY, STACKS
from serving.findings.signatures import Signature, signature

_MODEL, _STORE = Category.MODEL_ACCESS, Category.STORE_ACCESS

_TOKEN = (
    "The Hub refuses the token: it is missing, wrong or expired.",
    "Put a valid token into {secret} (huggingface.co/settings/tokens).",
)

NGC: tuple[Signature, ...] = (
    signature(
        Category.NIM,
        "key",
        r"NGC_API_KEY.*(?:not set|invalid|missing)|\bngc\b.*(?:\b401\b|\b403\b|Authentication)|"
        r"(?:\b401\b|\b403\b|Authentication Error|Permission error).*(?:\bngc\b|nvcr\.io)|"
        r"nim_hub\w*\.[^\n]*\b40[123]\b|"
        r"Permission error: The requested operation requires|operation requires an API key",
        "NGC refuses the key: it is missing, wrong, or its organisation may not use this model.",
        "Put a valid key into Secret ngc-api, key NGC_API_KEY, of an account that may use the NIM.",
    ),
)
"""NVIDIA's registry answers like the Hub, so that its words are read first."""

HUB: tuple[Signature, ...] = (
    signature(
        _STORE,
        "certificate",
        r"SSL validation failed for https?://|amazonaws\S*.*CERTIFICATE_VERIFY_FAILED|curlCode: 60\b",
        "The container does not trust the certificate that {host} shows: a proxy in between, as a rule.",
        "Give the container the certificate of that authority (env AWS_CA_BUNDLE), or reach S3 through a VPC endpoint.",
    ),
    signature(
        _MODEL,
        "network",
        r"ProxyError|Tunnel connection failed|Unable to connect to proxy",
        "A proxy between the container and the Hub refuses the connection.",
        "Let the proxy pass huggingface.co and hf.co, or correct HTTPS_PROXY and NO_PROXY of {container}.",
        "Serve from the staged model (weights=sync or stream) instead of the Hub.",
        lasting=False,
    ),
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
        r"DisabledRepoError|Access to this resource is disabled|451 Client Error|Unavailable For Legal Reasons",
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
        r"error occurred while downloading using .?hf_transfer|"
        r"LocalEntryNotFoundError|couldn't connect to 'https?://|check ?(?:out )?your (?:internet )?connection|"
        r"host='huggingface\.co'.*Max retries exceeded|Failed to resolve 'huggingface\.co'|"
        r"host='huggingface\.co'.*timed out|lookup (?:\S*\.)?(?:huggingface\.co|hf\.co)\b|"
        r"CAS (?:service|client) error.*(?:dns error|connect|timed out|request error|body)|"
        r"error sending request for url \(https://\S*(?:hf\.co|huggingface)",
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
        r"NoRegionError|You must specify a region|the region '[^']*' is wrong|"
        r"must be addressed using the specified endpoint|\(301\) when calling",
        "{bucket} is in another region than the pod was told.",
        "Correct the region of the model store (AWS_REGION of the container) to that of {bucket}.",
    ),
    signature(
        _STORE,
        "credentials",
        r"(?:error|could not|time(?:d )?out|refused|failed)[^\n]*(?:169\.254\.170\.23|\[fd00:ec2::23\])",
        "The EKS Pod Identity agent gives the pod no credentials: it does not answer on the pod's node.",
        "Run the agent on every node: EKS add-on eks-pod-identity-agent (kubectl get pods -n kube-system "
        "-l app.kubernetes.io/name=eks-pod-identity-agent).",
        "Let network policies and proxies (NO_PROXY) pass 169.254.170.23, and check the association of {account}.",
        lasting=False,
    ),
    signature(
        _STORE,
        "credentials",
        r"calling the AssumeRole\w* operation|not authorized to perform: sts:AssumeRole|AssumeRoleWithWebIdentity|"
        r"InvalidIdentityToken|No OpenIDConnect provider found",
        "AWS does not let the pod take on its role: {account} is not trusted by it.",
        "Correct the role's trust policy: it must name {account} and the cluster's OIDC provider, which must exist in "
        "IAM (IRSA), or pods.eks.amazonaws.com (Pod Identity).",
        "Check the role that {account} is given (annotation eks.amazonaws.com/role-arn): {resource}.",
        lasting=False,
    ),
    signature(
        _STORE,
        "credentials",
        r"NoCredentialsError|NoCredentialProviders|PartialCredentialsError|ProfileNotFound|"
        r"Unable to locate credentials|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|"
        r"InvalidClientTokenId|CredentialRetrievalError|TokenRetrievalError|RequestTimeTooSkewed|"
        r"No signing credentials|InvalidToken\b|"
        r"UnrecognizedClientException|TokenRefreshRequired|config profile \(\S+\) could not be found",
        "The pod has no valid AWS credentials.",
        "Give {account} a role (Pod Identity association or IRSA), or name one that has it in service_account.",
        lasting=False,
    ),
    signature(
        _STORE,
        "denied",
        r"with an explicit deny in an? ([\w -]+? policy)",
        "A {0} forbids the pod to read the model in {bucket}, whatever its role allows.",
        "Change the {0} (the bucket's own, the VPC endpoint's, the organization's, or the role's): it denies {action} "
        "on {resource} to {role}.",
        lasting=False,
    ),
    signature(
        _STORE,
        "denied",
        r"\(KMS\.\w+\) when calling|stored using a form of Server Side Encryption",
        "S3 cannot decrypt the model in {bucket} for the pod: the KMS key is disabled, or not the role's to use.",
        "Enable the bucket's KMS key, and grant kms:Decrypt on it to {role}: {resource}.",
        lasting=False,
    ),
    signature(
        _STORE,
        "denied",
        r"AccessDenied|AllAccessDisabled|is not authorized to perform: (s3:\w+)|"
        r"\(403\) when calling the \w+|S3.*access denied|"
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
        r"bucket \S* ?does not exist|no (?:\w+ )?(?:objects?|files?|weights)\b.*s3://|s3://.*no objects? found|"
        r"Invalid bucket name",
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
        r"\((?:SlowDown|InternalError|ServiceUnavailable|RequestTimeout|50[03])\) when calling the \w+|"
        r"ThrottlingException|reduce your request rate",
        "S3 answers that there were too many requests, or that it has trouble of its own.",
        "Wait: S3 makes room by itself. Start fewer pods at a time, or use weights=stream.",
        lasting=False,
    ),
    signature(
        _STORE,
        "unreachable",
        r"Could not connect to the endpoint URL|EndpointConnectionError|ConnectTimeout(?:Error)?\b.*amazonaws|"
        r"(?:Connect|Read) timeout on endpoint URL|Failed to connect to proxy URL|"
        r"Connection was closed before we received a valid response|s3://[^\n]*IncompleteRead|"
        r"curlCode: (?:5|6|7|28|35|56)\b|"
        r"AWS_IO_(?:DNS|SOCKET|TLS)\w*|"
        r"(?:s3://|amazonaws).*(?:dns error|Couldn't resolve host|timed out|i/o timeout|no such host|"
        r"connection refused)",
        "The pod cannot reach S3.",
        "Check the pod's route to S3 (VPC endpoint, NAT, network policies) and the store's endpoint_url.",
        "Where a proxy stands in between, let NO_PROXY name S3, or let the proxy pass it.",
        lasting=False,
    ),
    signature(
        _STORE,
        "streamer",
        r"libstreamer due to: (?!.*(?:failed to load|not supported))b?'?([^'\n]*)",
        "The engine's streamer could not read the weights from {bucket}, and says no more than: {0}.",
        "Check that {account} may read {bucket} (s3:GetObject), its region and endpoint_url, and the way there.",
        "With weights=sync the reason would be named.",
        lasting=False,
    ),
    signature(
        _STORE,
        "damaged",
        r"SafetensorError(?!.*No space left)|HeaderTooLarge|InvalidHeaderDeserialization|MetadataIncompleteBuffer|"
        r"UnpicklingError|PytorchStreamReader failed|Consistency check failed: file should be of size|"
        r"gguf\S*: (?:invalid|failed to read) magic|not within the file bounds|is corrupted or incomplete",
        "A weights file is cut off or damaged.",
        "Use weights=sync, which verifies every file, and stage the model again.",
    ),
)

SIGNATURES: tuple[Signature, ...] = (*NGC, *HUB, *S3, *MEMORY, *ENGINE, *DEVICES, *STACKS)
