//go:build !edited

package main

import "errors"

// sharing: gVisor as it is published reads every page of a snapshot for every copy.
const sharing = false

func useSnapshot(int) error { return errors.New("this gVisor can't share the pages of a snapshot") }
