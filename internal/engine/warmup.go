package engine

import (
	"time"

	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
)

// warmUp is the event on which one entry of a function rehearses before copies of it are made, so that they answer
// sooner: the copies keep what the function left in its memory. It is made of the installed function alone, before and
// apart from any run, so there is nothing of a person it could hold: the question for the configuration; the question
// for the bundle of a day long ago; the author's sample, which came with the package, or else their own configuration with no
// records. nil if the operator wants none.
func warmUp(f catalog.Function, entry catalog.Entry) []byte {
	switch {
	case f.NoWarmUp:
		return nil
	case entry.Name == f.Configuration.Name:
		return contract.ConfigurationEvent()
	case entry.Name == f.Bundle.Name:
		day := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
		return contract.BundleEvent(hat.Window{From: day, Until: day.AddDate(0, 0, 1)})
	case f.SampleEvent != nil:
		return f.SampleEvent
	case f.Manifest == nil: // not known yet
		return nil
	}
	event, _ := contract.NewEvent(contract.Configuration(*f.Manifest, contract.Status{Available: true, Enabled: true}), f.Manifest.Bundle.Names()).Bytes()
	return event
}
