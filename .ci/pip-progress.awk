# Turns pip's output into one line that updates itself; prints nothing where no terminal reads.
function show(text) { if (tty) { printf "\r\033[K  %s", substr(text, 1, 76); fflush() } }
/^Collecting / { show(sprintf("%d packages found, now %s", ++found, $2)) }
/^ *Downloading .*\(/ { show($1 " " $2 " " $3 " " $4) }
/^Installing collected packages:/ { show("unpacking " (NF - 3) " packages (the longest step) …") }
END { show("") }
