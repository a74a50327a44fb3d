# Completions of the sled's commands, which are fetched when somebody asks for the first. Only bash is here.
if [ "${BASH_VERSION-}" ]; then
    _crucible_sled() { eval "$(COMPLETE=bash "$1")" && return 124; }
    complete -F _crucible_sled sledctl crucible-attach
fi
