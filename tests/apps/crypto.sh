#!/bin/bash
# ssh-keygen and openssl: keys, signatures, certificates, a TLS server and client, openssl speed.
set -euo pipefail
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -9 "$server"; rm -rf "$work"' EXIT
cd "$work"
for type in ed25519 ecdsa rsa; do
  ssh-keygen -q -t "$type" -N '' -C "$type key" -f "$type"
  ssh-keygen -l -f "$type.pub" | cut -d' ' -f1,3-
done
stat -c '%a %n' ed25519 ed25519.pub
echo message >message
ssh-keygen -q -Y sign -f ed25519 -n file message
echo "me $(cat ed25519.pub)" >allowed
ssh-keygen -Y verify -f allowed -I me -n file -s message.sig <message | cut -d' ' -f1-4
ssh-keygen -q -p -P '' -N secret -f rsa >/dev/null && ssh-keygen -y -P secret -f rsa | cut -d' ' -f1
eval "$(ssh-agent -s -a "$work/agent")" >/dev/null
ssh-add -q ed25519 && ssh-add -l | cut -d' ' -f3-
kill "$SSH_AGENT_PID"
echo "== openssl"
openssl dgst -sha256 message | cut -d' ' -f2
openssl enc -aes-256-cbc -pbkdf2 -pass pass:x -in message -out encrypted
openssl enc -d -aes-256-cbc -pbkdf2 -pass pass:x -in encrypted
openssl rand 1000 | wc -c
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 1 \
  -subj /CN=localhost 2>/dev/null
openssl verify -CAfile cert.pem cert.pem
port=$((20000 + RANDOM % 10000))
openssl s_server -accept "127.0.0.1:$port" -key key.pem -cert cert.pem -quiet -rev >/dev/null 2>&1 &
server=$!
until { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; do kill -0 "$server"; sleep 0.02; done
exec 3<&-
{ echo stressed; sleep 0.5; } | openssl s_client -connect "127.0.0.1:$port" -CAfile cert.pem -quiet -no_ign_eof -verify_return_error 2>/dev/null || true
kill "$server"; wait "$server" 2>/dev/null || true
server=
openssl speed -seconds 1 -bytes 1024 -evp sha256 2>/dev/null | awk '/^sha256/ { print ($2 + 0 > 0) }'
openssl speed -seconds 1 -multi 2 ed25519 2>/dev/null | grep -c 'Ed25519'
