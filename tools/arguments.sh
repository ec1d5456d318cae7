# Sourced by the scripts that start several processes: their usage and their arguments.

# Print the head of the calling script, from line 2 to the one given, and end.
usage() {
    sed -n "2,$1s/^# //p" "$0" >&2
    exit 2
}

# End unless VALUE, of the argument or variable NAME, is a whole number, not below LEAST.
require_number() {
    local name=$1 value=$2 least=$3
    if [[ ! $value =~ ^[0-9]{1,9}$ || 10#$value -lt $least ]]; then
        echo "error: $name is '$value', and has to be a whole number from $least up" >&2
        exit 2
    fi
}
