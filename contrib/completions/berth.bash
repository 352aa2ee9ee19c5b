# bash completion for berth. Everything it knows it asks berth for, so that it
# fits the berth that is installed.

_berth() {
	local line=${COMP_LINE:0:COMP_POINT} words cur reply word cut
	# Words as they were typed: COMP_WORDS is split at '=' and ':' too.
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	cur=${words[-1]}
	COMPREPLY=()
	mapfile -t reply < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
	if [[ ${reply[0]-} == :file ]]; then
		word=${cur##*[=:,]}
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	fi
	# Readline replaces only what follows the last '=' or ':' of the word.
	cut=${cur%"${cur##*[=:]}"}
	[[ $cur == --*=* && $cut == --*= ]] && cut=
	for word in "${reply[@]}"; do
		COMPREPLY+=("${word#"$cut"}")
	done
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]] && compopt -o nospace
	return 0
}

complete -F _berth berth
