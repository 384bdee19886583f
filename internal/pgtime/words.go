package pgtime

import "strings"

type wordKind byte

const (
	wordIgnored wordKind = iota
	wordMonth
	wordWeekday
	wordEra
	wordMeridiem
	wordTime
)

type timeWord struct {
	kind  wordKind
	value int64
}

// cut shortens a word to the part that PostgreSQL compares.
func cut(word string) string { return word[:min(len(word), 10)] }

var timeWords = func() map[string]timeWord {
	words := map[string]timeWord{
		"at": {wordIgnored, 0}, "on": {wordIgnored, 0},
		"ad": {wordEra, 1}, "bc": {wordEra, -1},
		"am": {wordMeridiem, 0}, "pm": {wordMeridiem, 0},
		"t": {wordTime, 0},
	}
	add := func(kind wordKind, value int64, names string) {
		for name := range strings.FieldsSeq(names) {
			words[name] = timeWord{kind, value}
		}
	}
	for i, names := range []string{"jan january", "feb february", "mar march", "apr april", "may", "jun june",
		"jul july", "aug august", "sep sept september", "oct october", "nov november", "dec december"} {
		add(wordMonth, int64(i+1), names)
	}
	add(wordWeekday, 0, `sun sunday mon monday tue tues tuesday wed weds wednesday thu thur thurs thursday fri friday sat saturday`)
	return words
}()

// timeZones are the abbreviations with a fixed offset in PostgreSQL's default set, in minutes east of UTC.
var timeZones = func() map[string]int64 {
	zones := make(map[string]int64)
	for offset, names := range map[int64]string{
		-600: "hst taht",
		-570: "mart",
		-540: "akst gamt",
		-480: "akdt pst",
		-420: "mst pdt",
		-360: "cst galt mdt",
		-300: "act cdt cot est pet",
		-240: "amt ast bot edt",
		-210: "nft nst",
		-180: "adt bra brt clst gft pmst pyst uyt wgt",
		-150: "ndt",
		-120: "brst fnt pmdt uyst wgst",
		-60:  "azot egt fnst",
		0:    "azost egst gmt uct ut utc wet z zulu",
		60:   "bst cet met mez wat wetdst",
		120:  "bdst cest cetdst eet ist mest mesz metdst sast",
		180:  "eat eest eetdst fet idt",
		210:  "irt",
		240:  "msd mut ret sct",
		270:  "aft",
		300:  "must mvt pkt tft tjt uzt",
		345:  "npt",
		360:  "almt bdt btt kgst pkst uzst xjt yekst",
		390:  "mmt",
		420:  "almst cxt ict wast",
		480:  "awst bnt bort cct hkt myt pht wadt",
		525:  "acwst",
		540:  "awsst jayt jst kst pwt ulast wdt",
		570:  "acst cast",
		600:  "aest chut ddut kdt ligt mpt pgt trut yapt",
		630:  "acdt acsst cadt lhst sadt",
		660:  "aedt aesst pont vut",
		720:  "fjt gilt mht nzst nzt tvt wakt wft",
		765:  "chast",
		780:  "fjst nzdt tot",
		825:  "chadt",
	} {
		for name := range strings.FieldsSeq(names) {
			zones[name] = offset
		}
	}
	return zones
}()
