// Package local reaches names under .localhost on this machine, without a name server or proxy.
package local

import (
	"context"
	"net"
	"net/http"
	"net/url"

	"she/internal/hat"
)

// HostOf returns the part of a URL that names a HAT: bob.localhost:7777 of http://bob.localhost:7777/. Other
// text is returned unchanged.
func HostOf(text string) string {
	if u, err := url.Parse(text); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		return u.Host
	}
	return text
}

// Transport is for requests to HATs and collectors. Requests to names under .localhost stay on this machine
// and use no proxy.
func Transport() *http.Transport {
	return &http.Transport{DialContext: dial, Proxy: func(r *http.Request) (*url.URL, error) {
		if address := net.JoinHostPort(r.URL.Hostname(), "80"); hat.Loopback(address) != address {
			return nil, nil
		}
		return http.ProxyFromEnvironment(r)
	}}
}

// dial connects, for names under .localhost to this machine.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	local := hat.Loopback(address)
	conn, err := d.DialContext(ctx, network, local)
	if err == nil || local == address {
		return conn, err
	}
	_, port, _ := net.SplitHostPort(local)
	if conn, other := d.DialContext(ctx, network, net.JoinHostPort("::1", port)); other == nil {
		return conn, nil
	}
	return nil, err
}
