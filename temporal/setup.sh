#!/bin/sh
# Makes the platform's namespace, or sets the retention of the one that is there; repeating it is
# harmless. Needs the `temporal` CLI, which reads TEMPORAL_ADDRESS, TEMPORAL_API_KEY and TEMPORAL_TLS_*
# from the environment.
set -eu
namespace=${TEMPORAL_NAMESPACE:-default}
retention=${TEMPORAL_RETENTION:-7d}
attempts=${TEMPORAL_ATTEMPTS:-30}

# Tries a command until it works, for about a minute.
until_ok() {
    left=$attempts
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 2
    done
}

if ! until_ok temporal operator cluster health; then
    echo "Temporal does not answer at ${TEMPORAL_ADDRESS:-127.0.0.1:7233}" >&2
    exit 1
fi

if temporal operator namespace describe -n "$namespace" >/dev/null 2>&1; then
    temporal operator namespace update -n "$namespace" --retention "$retention" >/dev/null
    echo "The namespace $namespace keeps closed workflows for $retention"
else
    temporal operator namespace create -n "$namespace" --retention "$retention" >/dev/null
    # The cluster's parts learn of a new namespace within some seconds; whoever waits for us may use it.
    until_ok temporal workflow list -n "$namespace" --limit 1
    echo "Made the namespace $namespace, which keeps closed workflows for $retention"
fi

# By these the web UI lists "all unhealthy in production"; mcp_platform/search_attributes.py has the same.
for attribute in McpSlug McpStatus McpDriver McpEnvironment McpOwner; do
    temporal operator search-attribute create -n "$namespace" --name "$attribute" --type Keyword >/dev/null 2>&1 || true
done
until_ok sh -c 'temporal operator search-attribute list -n "$1" | grep -q McpOwner' list "$namespace" || {
    echo "The search attributes of deployments could not be made in $namespace" >&2
    exit 1
}
echo "The namespace $namespace has the search attributes of deployments"
