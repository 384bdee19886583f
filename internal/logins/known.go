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

// An Origin is where a request comes from. network is the address; of IPv6 its /64, because one customer has a whole
// one. site is the same, but of IPv6 the /48: one customer may have 65,536 networks.
type Origin struct{ Network, Site string }

// Nowhere is where a request comes from whose address can't be read. Nobody is known there.
var Nowhere = Origin{"unknown", "unknown"}

// OriginOf is the origin of an address, with or without a port.
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

// knownOrigins are the networks a user has logged in from, kept in the vault as keyed digests: the vault alone does not
// tell which they are, nor does a guess at one. Only a right password adds one, so that nobody else can push one out.
type knownOrigins struct {
	Origins []knownOrigin `json:"origins"` // the one used last comes first
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

// OriginDigest is keyed by the HAT's private key, which does not lie in the vault.
func OriginDigest(h directory.HAT, u hat.UserID, network string) []byte {
	secret := sha256.Sum256(append([]byte("she: known networks of a HAT's users\x00"), h.Key.D.Bytes()...))
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte(u.String() + " " + network))
	return m.Sum(nil)[:16]
}

// Find returns when the network was used last, if it is known. What is older than the user's tokens is known no more: a
// password was changed since, perhaps because others had it.
func (k knownOrigins) Find(digest []byte, tokensFrom, now time.Time) (used time.Time, found bool) {
	for _, o := range k.Origins {
		used = time.Unix(o.Used, 0)
		if hmac.Equal(o.Digest, digest) && !used.Before(tokensFrom) && now.Before(used.Add(knownFor)) {
			return used, true
		}
	}
	return time.Time{}, false
}

// with is k after a login from the network. What counts no more is dropped.
func (k knownOrigins) with(digest []byte, tokensFrom, now time.Time) knownOrigins {
	rest := slices.DeleteFunc(slices.Clone(k.Origins), func(o knownOrigin) bool {
		_, found := knownOrigins{[]knownOrigin{o}}.Find(o.Digest, tokensFrom, now)
		return !found || hmac.Equal(o.Digest, digest)
	})
	used := now
	if used.Before(tokensFrom) {
		used = tokensFrom // a password change moves that to the next full second
	}
	all := append([]knownOrigin{{digest, used.Unix()}}, rest...)
	return knownOrigins{all[:min(len(all), maxKnownOrigins)]}
}

// parseKnown reads what a vault keeps. What can't be read is as nothing: it is for comfort, and no login fails by it.
func parseKnown(d vault.Document) (k knownOrigins) {
	if json.Unmarshal(d.Body, &k) != nil {
		return knownOrigins{}
	}
	return k
}

// Remember stores what a login leaves: that its network is known, and a hash at the present cost in place of old.
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

// A store keeps what is remembered of logins.
type store interface {
	Document(ctx context.Context, c access.Caller, k vault.DocumentKind, id string) (vault.Document, error)
	EditDocuments(ctx context.Context, c access.Caller, edit func(vault.Edit) error) error
}

// KnownTo are the networks a user is known to log in from. For a name that nobody has, u is zero and the same is looked up in vain.
func KnownTo(ctx context.Context, v store, u vault.User) (knownOrigins, error) {
	d, err := v.Document(ctx, access.User(u.ID, u.Roles, ""), vault.Logins, u.ID.String())
	if errors.Is(err, vault.ErrNotFound) {
		return knownOrigins{}, nil
	} else if err != nil {
		return knownOrigins{}, err
	}
	return parseKnown(d), nil
}
