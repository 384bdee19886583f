package hat

import "strings"

// Loopback returns an address, host:port, with the machine itself in place of a name under .localhost, such as
// bob.localhost:7777: such a name leads nowhere else (RFC 6761), and not every resolver knows it. Other addresses stay.
func Loopback(address string) string {
	i := strings.LastIndexByte(address, ':')
	if i < 0 || !strings.HasSuffix(strings.ToLower(strings.TrimSuffix(address[:i], ".")), ".localhost") {
		return address
	}
	return "127.0.0.1" + address[i:]
}
