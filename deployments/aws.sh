#!/usr/bin/env bash
# The AWS side of an installation: the model store's bucket, and an identity each for runs (write) and pods (read).
# Doing it again changes nothing. Needs the aws command with an administrator's rights; shows each command that it runs.
#
#   CLUSTER=inference BUCKET=my-models REGION=us-west-2 deployments/aws.sh
#   CLUSTER=inference BUCKET=my-models REGION=us-west-2 deployments/aws.sh bucket      a part: bucket, roles, identities
#
# Besides: PREFIX (models/), NAMESPACE of the endpoints (inference), RUNS_NAMESPACE (prefect), IDENTITY (pod-identity, or
# irsa), KMS_KEY_ARN (empty: S3's own keys).
set -euo pipefail
cd "$(dirname "$0")"
: "${CLUSTER:?name of the EKS cluster}" "${BUCKET:?name of the bucket}" "${REGION:?AWS region}"
PREFIX=${PREFIX-models/} NAMESPACE=${NAMESPACE:-inference} RUNS_NAMESPACE=${RUNS_NAMESPACE:-prefect}
IDENTITY=${IDENTITY:-pod-identity} KMS_KEY_ARN=${KMS_KEY_ARN:-}
OIDC_PROVIDER="" SERVICE_ACCOUNT="" SERVICE_ACCOUNT_NAMESPACE=""
export AWS_REGION=$REGION AWS_DEFAULT_REGION=$REGION AWS_PAGER=""
ACCOUNT=$(aws sts get-caller-identity --query Account --output text)

say() { printf '+ %s\n' "$(tr -s ' \n' ' ' <<<"$*")" >&2; "$@"; }

# filled FILE: the file, with values in place of the names of the variables above.
filled() {
  local text name
  text=$(<"$1")
  for name in CLUSTER BUCKET REGION PREFIX ACCOUNT KMS_KEY_ARN OIDC_PROVIDER SERVICE_ACCOUNT_NAMESPACE SERVICE_ACCOUNT; do
    text=${text//"\${$name}"/"${!name}"}
  done
  printf '%s' "$text"
}

bucket() {
  if ! aws s3api head-bucket --bucket "$BUCKET" >/dev/null 2>&1; then
    local where=(--create-bucket-configuration "LocationConstraint=$REGION")
    [ "$REGION" = us-east-1 ] && where=()
    say aws s3api create-bucket --bucket "$BUCKET" ${where[@]+"${where[@]}"} >/dev/null
  fi
  local encryption=bucket/encryption.json
  [ -n "$KMS_KEY_ARN" ] && encryption=bucket/encryption-kms.json
  say aws s3api put-public-access-block --bucket "$BUCKET" \
    --public-access-block-configuration "$(filled bucket/public-access.json)"
  say aws s3api put-bucket-encryption --bucket "$BUCKET" \
    --server-side-encryption-configuration "$(filled $encryption)"
  say aws s3api put-bucket-lifecycle-configuration --bucket "$BUCKET" \
    --lifecycle-configuration "$(filled bucket/lifecycle.json)" >/dev/null
  say aws s3api put-bucket-policy --bucket "$BUCKET" --policy "$(filled bucket/policy.json)"
}

# role NAME NAMESPACE SERVICE_ACCOUNT POLICY…: a role that this service account may take, with exactly these policies.
role() {
  local name=$1 policy trust
  SERVICE_ACCOUNT_NAMESPACE=$2 SERVICE_ACCOUNT=$3
  shift 3
  trust=$(filled "iam/trust-$IDENTITY.json")
  if aws iam get-role --role-name "$name" >/dev/null 2>&1; then
    say aws iam update-assume-role-policy --role-name "$name" --policy-document "$trust"
  else
    say aws iam create-role --role-name "$name" --assume-role-policy-document "$trust" >/dev/null
  fi
  for policy in "$@"; do
    say aws iam put-role-policy --role-name "$name" --policy-name "$policy" \
      --policy-document "$(filled "iam/$policy.json")"
  done
}

roles() {
  if [ "$IDENTITY" = irsa ]; then
    OIDC_PROVIDER=$(aws eks describe-cluster --name "$CLUSTER" --query cluster.identity.oidc.issuer --output text)
    OIDC_PROVIDER=${OIDC_PROVIDER#https://}
  fi
  local write=() read=()
  [ -n "$KMS_KEY_ARN" ] && write=(kms-write) read=(kms-read)
  role "$CLUSTER-inference-flows" "$RUNS_NAMESPACE" inference-flows staging cluster ${write[@]+"${write[@]}"}
  role "$CLUSTER-inference-pods" "$NAMESPACE" inference-pods pods ${read[@]+"${read[@]}"}
}

# identity NAMESPACE SERVICE_ACCOUNT ROLE: whoever has the service account has the role.
identity() {
  local arn="arn:aws:iam::$ACCOUNT:role/$3" there
  if [ "$IDENTITY" = irsa ]; then
    say kubectl annotate serviceaccount --overwrite -n "$1" "$2" "eks.amazonaws.com/role-arn=$arn"
    return
  fi
  there=$(aws eks list-pod-identity-associations --cluster-name "$CLUSTER" --namespace "$1" --service-account "$2" \
    --query 'associations[0].associationId' --output text)
  if [ "$there" = None ]; then
    say aws eks create-pod-identity-association --cluster-name "$CLUSTER" --namespace "$1" --service-account "$2" \
      --role-arn "$arn" >/dev/null
  else
    say aws eks update-pod-identity-association --cluster-name "$CLUSTER" --association-id "$there" \
      --role-arn "$arn" >/dev/null
  fi
}

identities() {
  identity "$RUNS_NAMESPACE" inference-flows "$CLUSTER-inference-flows"
  identity "$NAMESPACE" inference-pods "$CLUSTER-inference-pods"
}

case ${1:-all} in
  bucket) bucket ;;
  roles) roles ;;
  identities) identities ;;
  all) bucket; roles; identities ;;
  *) printf 'usage: %s [bucket | roles | identities]\n' "$0" >&2; exit 2 ;;
esac
