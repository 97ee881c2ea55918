# shellcheck shell=bash
# What quickstart and check share: Debian packages, compiler jobs, moved build folders.
# Sourced; stands on bash, coreutils, sed and dpkg, which every Debian has.
#
# jobs_default                  compilers at once: one a core, each with 1.5 GB of memory.
# forget_moved_build BUILD ROOT removes a build folder that was configured at another place.
# install_missing LOG LIST...   LIST files name one package a line; '#' starts a comment.
#   Says what it installs before it does. Returns 0 when all are there, 2 when a person has to act.
#   ATOLL_SKIP_PACKAGES=1 leaves packages alone.

jobs_default() {
  local cores memory_kb jobs
  cores=$(nproc)
  memory_kb=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
  jobs=$((${memory_kb:-2000000} / 1500000))
  [ "$jobs" -ge 1 ] || jobs=1
  [ "$jobs" -le "$cores" ] || jobs=$cores
  echo "$jobs"
}

forget_moved_build() {
  [ -f "$1/CMakeCache.txt" ] || return 0
  grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$2" "$1/CMakeCache.txt" || rm -rf "$1"
}

# Packages named in the list files.
packages_in() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

# Those of the given packages that dpkg does not have.
packages_missing() {
  local have package
  have=" $(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' "$@" 2>/dev/null |
    sed -n 's/^ii *//p' | tr '\n' ' ') "
  for package in "$@"; do
    case $have in *" $package "*) ;; *) echo "$package" ;; esac
  done
}

install_missing() {
  local log=$1
  shift
  [ -z "${ATOLL_SKIP_PACKAGES-}" ] || return 0
  local wanted missing
  mapfile -t wanted < <(packages_in "$@")
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    cat >&2 <<TXT
This system has no apt-get. Atoll is built on Debian 12; elsewhere, install what these packages hold
and run this again with ATOLL_SKIP_PACKAGES=1:
  ${wanted[*]}
TXT
    return 2
  fi
  mapfile -t missing < <(packages_missing "${wanted[@]}")
  [ "${#missing[@]}" -gt 0 ] || return 0
  printf 'Packages that are missing here:\n  %s\n' "${missing[*]}"

  local become=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
      become=(sudo)
    else
      cat >&2 <<TXT
Installing them needs root. Ask for this, then run the command again:
  apt-get install --no-install-recommends ${missing[*]}
TXT
      return 2
    fi
  fi
  echo "Installing them with apt-get (log: $log) ..."
  local apt=("${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  # A mirror that fails to refresh is no reason to stop: what is known may be enough.
  "${apt[@]}" update >>"$log" 2>&1 || true
  if "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    return 0
  fi
  explain_apt_failure "$log" >&2
  return 2
}

explain_apt_failure() {
  grep -E '^(E|W): ' "$1" | tail -n 5
  if grep -qi 'no space left\|not have enough free space' "$1"; then
    echo "The disk is full: free about 1 GB on the file system that holds / and run this again."
  elif grep -qi 'unable to locate package\|has no installation candidate' "$1"; then
    if grep -qi 'failed to fetch\|could not resolve\|could not connect' "$1"; then
      explain_no_network
    else
      # shellcheck disable=SC1091
      echo "This distribution ($(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME-unknown}"))" \
        "does not have these packages; Atoll is built on Debian 12 (bookworm)."
    fi
  elif grep -qiE "failed to fetch|could not (resolve|connect)|temporary failure" "$1"; then
    explain_no_network
  elif grep -qi 'unmet dependencies\|conflicts' "$1"; then
    echo "Another Boost is in the way: libboost1.81-dev cannot stand beside libboost-dev (1.74)." \
      "Remove that one (apt-get remove libboost1.74-dev), then run this again."
  else
    echo "apt-get failed; the whole log is in $1."
  fi
}

explain_no_network() {
  echo "The package mirror cannot be reached: check the network, a proxy (http_proxy) and" \
    "/etc/apt/sources.list, then run this again."
}
