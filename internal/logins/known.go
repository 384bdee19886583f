package logins

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"she/internal/access"
	"she/internal/directory"
	"she/internal/hat"
	"she/internal/vault"
)

// An Origin is where a request comes from. Network is the IPv4 address, or the /64 of an IPv6 address,
// because one customer has a whole /64. Site is the IPv4 address, or the /48 of an IPv6 address, because one
// customer can have 65,536 networks.
type Origin struct{ Network, Site string }

// Nowhere is the origin of a request whose address can't be read. No user is known there.
var Nowhere = Origin{"unknown", "unknown"}

// OriginOf returns the origin of an address with or without a port.
func OriginOf(address string) Origin {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(strings.Trim(address, "[]"))
	if err != nil {
		return Nowhere
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return Origin{ip.String(), ip.String()}
	}
	network, site := netip.PrefixFrom(ip, 64).Masked(), netip.PrefixFrom(ip, 48).Masked()
	return Origin{network.String(), site.String()}
}

// knownOrigins are the networks a user has logged in from. The vault keeps them as keyed digests. Without the
// key, neither reading the vault nor guessing a network reveals them. Only a right password adds a network,
// so nobody else can push one out.
type knownOrigins struct {
	Origins []knownOrigin `json:"origins"` // the last used first
}

type knownOrigin struct {
	Digest []byte `json:"digest"`
	Used   int64  `json:"used"` // seconds since 1970; written again after knownAgain
}

const (
	maxKnownOrigins = 64
	// knownFor is how long a network stays known after the last login from it.
	knownFor = 180 * 24 * time.Hour
	// KnownAgain is how old the time of the last login may be before it is written again.
	KnownAgain = 24 * time.Hour
)

// OriginDigest returns the digest of a network. Its key is the HAT's private key, which is not in the vault.
func OriginDigest(h directory.HAT, u hat.UserID, network string) []byte {
	secret := sha256.Sum256(append([]byte("she: known networks of a HAT's users\x00"), h.Key.D.Bytes()...))
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte(u.String() + " " + network))
	return m.Sum(nil)[:16]
}

// Find returns when the network was last used, if it is known. Networks used before tokensFrom no longer
// count: the password was changed then, perhaps because others had it.
func (k knownOrigins) Find(digest []byte, tokensFrom, now time.Time) (used time.Time, found bool) {
	for _, o := range k.Origins {
		used = time.Unix(o.Used, 0)
		if hmac.Equal(o.Digest, digest) && !used.Before(tokensFrom) && now.Before(used.Add(knownFor)) {
			return used, true
		}
	}
	return time.Time{}, false
}

// with returns k after a login from the network. It drops networks that no longer count.
func (k knownOrigins) with(digest []byte, tokensFrom, now time.Time) knownOrigins {
	rest := slices.DeleteFunc(slices.Clone(k.Origins), func(o knownOrigin) bool {
		_, found := knownOrigins{[]knownOrigin{o}}.Find(o.Digest, tokensFrom, now)
		return !found || hmac.Equal(o.Digest, digest)
	})
	used := now
	if used.Before(tokensFrom) {
		used = tokensFrom // a password change moves tokensFrom to the next full second
	}
	all := append([]knownOrigin{{digest, used.Unix()}}, rest...)
	return knownOrigins{all[:min(len(all), maxKnownOrigins)]}
}

// parseKnown reads what a vault keeps. Unreadable content counts as empty, because these networks are only a
// convenience: no login may fail because of them.
func parseKnown(d vault.Document) (k knownOrigins) {
	if json.Unmarshal(d.Body, &k) != nil {
		return knownOrigins{}
	}
	return k
}

// Remember stores the result of a login: its network becomes known, and a hash at the present cost replaces
// the old one.
func Remember(ctx context.Context, v store, h directory.HAT, u vault.User, t Try, p Proof, now time.Time) error {
	id, digest := u.ID.String(), OriginDigest(h, u.ID, t.From.Network)
	return v.EditDocuments(ctx, access.User(u.ID, u.Roles, ""), func(e vault.Edit) error {
		if p.Fresh != nil {
			err := e.ChangeUser(u.ID, func(stored *vault.User) error {
				if bytes.Equal(stored.PasswordHash, u.PasswordHash) {
					stored.PasswordHash = p.Fresh
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if t.From == Nowhere {
			return nil
		}
		d, err := e.Find(vault.Logins, id)
		if err != nil && !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		body, err := json.Marshal(parseKnown(d).with(digest, u.TokensFrom, now))
		if err != nil {
			return err
		}
		return e.Put(vault.Logins, id, body)
	})
}

// A store keeps what the server remembers of logins.
type store interface {
	Document(ctx context.Context, c access.Caller, k vault.DocumentKind, id string) (vault.Document, error)
	EditDocuments(ctx context.Context, c access.Caller, edit func(vault.Edit) error) error
}

// KnownTo returns the networks a user is known to log in from. For an unknown name u is zero, and KnownTo
// does the same work without a result.
func KnownTo(ctx context.Context, v store, u vault.User) (knownOrigins, error) {
	d, err := v.Document(ctx, access.User(u.ID, u.Roles, ""), vault.Logins, u.ID.String())
	if errors.Is(err, vault.ErrNotFound) {
		return knownOrigins{}, nil
	} else if err != nil {
		return knownOrigins{}, err
	}
	return parseKnown(d), nil
}
