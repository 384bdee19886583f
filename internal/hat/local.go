package hat

import "strings"

// Loopback replaces a host under .localhost, such as bob.localhost:7777, by the loopback address. Such names
// mean this machine (RFC 6761), but not every resolver knows that. Other addresses are returned unchanged.
func Loopback(address string) string {
	i := strings.LastIndexByte(address, ':')
	if i < 0 || !strings.HasSuffix(strings.ToLower(strings.TrimSuffix(address[:i], ".")), ".localhost") {
		return address
	}
	return "127.0.0.1" + address[i:]
}
