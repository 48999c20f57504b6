#!/bin/sh
# Install SimGrid (tested with 3.32 of Debian bookworm), which bench/paper/simulate.py needs. Run as root.
set -e
apt-get update
apt-get install -y --no-install-recommends g++ libsimgrid-dev libboost-dev
