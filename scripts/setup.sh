#!/usr/bin/env bash
# Installs what storefs needs and is not here yet: system packages, then the virtual environment .venv.
#
#   scripts/setup.sh [dev] [mount]
#
# dev adds the tools of the developers; mount makes a missing /dev/fuse an error (exit 7).
# It asks nothing, says one line per step, and is silent when nothing is missing.
set -euo pipefail

readonly MISSING_PART=7
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
readonly STAMP=.venv/storefs-setup
readonly VENV_PYTHON=.venv/bin/python

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit "$MISSING_PART"; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- the interpreter --------------------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

has_headers() {
    "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' >/dev/null 2>&1
}

# Debian splits ensurepip off into pythonX.Y-venv.
can_make_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Only the distribution's own interpreter gets its headers from a package; pyenv's, uv's and others bring theirs.
is_of_the_system() {
    "$1" -c 'import sys
sys.exit(getattr(sys, "_base_executable", sys.executable).rpartition("/")[0] not in ("/usr/bin", "/bin"))' 2>/dev/null
}

minor_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# An environment that is there keeps its interpreter. Otherwise a complete interpreter is preferred to one that packages
# would have to complete.
choose_python() {
    local candidate incomplete=''
    for candidate in "$VENV_PYTHON" python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
        is_new_enough "$candidate" || continue
        if has_headers "$candidate" && can_make_venv "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
        if [[ -z $incomplete ]] && is_of_the_system "$candidate"; then
            incomplete=$candidate
        fi
    done
    printf '%s\n' "$incomplete"
}

# --- system packages --------------------------------------------------------------------------------------------------

# What is asked for is the part, not the package's name: names differ between distributions, and a part may have come
# without a package.
missing_packages() {
    local python=$1
    have fusermount3 || echo fuse3
    have pkg-config || echo pkg-config
    if have pkg-config; then
        pkg-config --exists fuse3 || echo libfuse3-dev
    else
        [[ -e /usr/include/fuse3/fuse.h ]] || echo libfuse3-dev
    fi
    have gcc || echo gcc
    [[ -e /usr/include/stdio.h ]] || echo libc6-dev
    if [[ $extras == dev ]]; then # programs that the tests run on a mount
        have git || echo git
        have rsync || echo rsync
    fi
    if [[ -z $python ]]; then
        echo python3 python3-dev python3-venv
        return
    fi
    has_headers "$python" || echo "python$(minor_version "$python")-dev"
    can_make_venv "$python" || echo "python$(minor_version "$python")-venv"
}

install_packages() {
    local -a packages=("$@") as_root=()
    local by_hand="apt-get update && apt-get install -y ${packages[*]}"
    if ! have apt-get; then
        fail "this is neither Debian nor Ubuntu; install what these packages hold, then run it again: ${packages[*]}"
    fi
    if ((EUID != 0)); then
        # sudo may ask for a password only where somebody is there to type it.
        if have sudo && { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }; }; then
            as_root=(sudo)
        else
            fail "packages are missing, and only root may install them. As root, run: $by_hand"
        fi
    fi
    local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    say "updating the package lists"
    # A list that some third repository fails to give need not hold what is wanted: the installation decides.
    quietly "${apt[@]}" update || say "not all package lists could be updated; going on with those that are here"
    say "installing ${packages[*]}"
    quietly "${apt[@]}" install -y --no-install-recommends "${packages[@]}" || fail "that failed. By hand, as root: $by_hand"
}

# Runs a command and shows what it printed only if it fails.
quietly() {
    local output
    if ! output=$("$@" </dev/null 2>&1); then
        printf '%s\n' "$output" >&2
        return 1
    fi
}

setup_system() {
    local -a packages
    python=$(choose_python)
    mapfile -t packages < <(missing_packages "$python" | tr ' ' '\n')
    ((${#packages[@]} == 0)) && return
    install_packages "${packages[@]}"
    hash -r
    python=$(choose_python)
    [[ -n $python ]] || fail "no Python >= 3.11 was found, and none could be installed; put one into PATH"
    mapfile -t packages < <(missing_packages "$python" | tr ' ' '\n')
    ((${#packages[@]} == 0)) || fail "still missing after the installation: ${packages[*]}"
}

# --- the virtual environment ------------------------------------------------------------------------------------------

# The folder counts too: an environment and an editable installation name it.
fingerprint() {
    { cat pyproject.toml; pwd -P; "$VENV_PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)'; } |
        sha256sum | cut -d ' ' -f 1
}

is_installed() {
    [[ -f $STAMP && -x $VENV_PYTHON ]] || return 1
    local have_print have_extras
    read -r have_print have_extras <"$STAMP" || return 1
    # What the developers have includes what a user needs.
    [[ $have_print == "$(fingerprint 2>/dev/null)" ]] && [[ $have_extras == "$1" || $have_extras == dev ]]
}

setup_environment() {
    local extras=$1 what='.'
    is_installed "$extras" && return
    if [[ $python != "$VENV_PYTHON" ]]; then
        say "making the virtual environment .venv with Python $(minor_version "$python") ($(command -v "$python"))"
        quietly "$python" -m venv --clear .venv || fail "the virtual environment could not be made"
    elif ! "$python" -m pip --version >/dev/null 2>&1; then
        say "putting pip into .venv"
        quietly "$python" -m ensurepip || fail "pip could not be put into .venv; remove that folder and try again"
    fi
    [[ $extras == dev ]] && what='.[dev]'
    say "installing storefs and what it imports into .venv (pip install -e '$what')"
    rm -f "$STAMP"
    # PIP_USER would send the packages to the home directory; all other settings of pip stay the user's.
    PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 quietly "$VENV_PYTHON" -m pip install -q -e "$what" ||
        { say "pip failed; its message is above"; exit 1; }
    printf '%s %s\n' "$(fingerprint)" "$extras" >"$STAMP"
}

check_device() {
    if [[ ! -e /dev/fuse ]]; then
        say "there is no /dev/fuse, so nothing can be mounted here (in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
    elif ! (: <>/dev/fuse) 2>/dev/null; then
        say "/dev/fuse cannot be opened by this user, so nothing can be mounted (as root: chmod 0666 /dev/fuse)"
    else
        return 0
    fi
    [[ $1 == no ]] || exit "$MISSING_PART"
}

main() {
    local extras=plain mounting=no argument
    for argument in "$@"; do
        case $argument in
            dev) extras=dev ;;
            mount) mounting=yes ;;
            *) say "unknown argument '$argument'; usage: scripts/setup.sh [dev] [mount]"; exit 2 ;;
        esac
    done
    check_device "$mounting"
    # Headers and the compiler serve the installation only; what runs needs fusermount3.
    if ! is_installed "$extras" || ! have fusermount3 || { [[ $extras == dev ]] && ! have rsync; }; then
        setup_system
        setup_environment "$extras"
    fi
}

main "$@"
