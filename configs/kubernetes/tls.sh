#!/bin/sh
# Certificates for cluster.tls, new ones with every call:
#   configs/kubernetes/tls.sh FOLDER | kubectl apply --namespace radps -f -
# The Secret radps-tls is printed. The files stay in FOLDER, which a driver outside of Kubernetes names in
# cluster.tls.folder. One certificate is authority and member at once: whoever has its key belongs to the cluster.
set -eu
umask 077
mkdir -p "$1"
cd "$1"
openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 90 -subj /CN=radps -keyout tls.key -out tls.crt 2>openssl.log
cp tls.crt ca.crt
cat <<END
apiVersion: v1
kind: Secret
metadata: {name: radps-tls}
type: Opaque
data:
  ca.crt: $(base64 <ca.crt | tr -d '\n')
  tls.crt: $(base64 <tls.crt | tr -d '\n')
  tls.key: $(base64 <tls.key | tr -d '\n')
END
