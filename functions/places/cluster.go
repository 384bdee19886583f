package main

import (
	"math"
	"slices"
)

const (
	earthRadius = 6_371_008.8 // metres
	// Two spots this near, in metres, belong together if one of them is in a crowd of enough fixes.
	reach  = 60
	enough = 4
	// Fixes within one square of this side are one spot, so that a year at home costs no more than a week.
	spotSide = 15
)

// haversine is the distance in metres between two points given in degrees.
func haversine(latitude1, longitude1, latitude2, longitude2 float64) float64 {
	const rad = math.Pi / 180
	sinLat := math.Sin((latitude2 - latitude1) * rad / 2)
	sinLon := math.Sin((longitude2 - longitude1) * rad / 2)
	h := sinLat*sinLat + math.Cos(latitude1*rad)*math.Cos(latitude2*rad)*sinLon*sinLon
	return 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
}

// grid divides the earth into cells at least `side` metres wide and high; columns run around it.
type grid struct{ side float64 }

type cell struct{ row, column int }

const metresPerDegree = earthRadius * math.Pi / 180

func (g grid) row(latitude float64) int {
	return int(math.Floor((latitude + 90) * metresPerDegree / g.side))
}

// columns is how many cells a row has; near the poles few, and at least one.
func (g grid) columns(row int) int {
	edge := math.Abs(float64(row)*g.side/metresPerDegree - 90)
	next := math.Abs(float64(row+1)*g.side/metresPerDegree - 90)
	narrow := math.Cos(min(max(edge, next), 90) * math.Pi / 180)
	return max(1, int(360*metresPerDegree*narrow/g.side))
}

func (g grid) at(row int, longitude float64) cell {
	n := g.columns(row)
	return cell{row, int((longitude+180)/360*float64(n)) % n}
}

// around lists the cell of a point and those that touch it, each once.
func (g grid) around(latitude, longitude float64) []cell {
	var cells []cell
	row := g.row(latitude)
	for r := row - 1; r <= row+1; r++ {
		middle, n := g.at(r, longitude), g.columns(r)
		for d := -1; d <= 1; d++ {
			c := cell{r, (middle.column + d + n) % n}
			if !slices.Contains(cells, c) {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

// A spot is a handful of fixes at practically one point.
type spot struct {
	latitude, longitude float64 // of its first fix
	fixes               []int
	cluster             int // none until found
}

const none = -1

// cluster groups fixes by density (DBSCAN over spots that weigh as much as they have fixes). It gives for each fix
// the number of its cluster, or none; clusters are numbered in the order in which they were first seen.
func cluster(fixes []fix) []int {
	var spots []*spot
	fine, coarse := grid{spotSide}, grid{reach}
	byFine, byCoarse := map[cell]*spot{}, map[cell][]*spot{}
	for i, f := range fixes {
		at := fine.at(fine.row(f.latitude), f.longitude)
		s := byFine[at]
		if s == nil {
			s = &spot{f.latitude, f.longitude, nil, none}
			byFine[at] = s
			spots = append(spots, s)
			wide := coarse.at(coarse.row(f.latitude), f.longitude)
			byCoarse[wide] = append(byCoarse[wide], s)
		}
		s.fixes = append(s.fixes, i)
	}
	// near gives the spots in reach, the spot itself among them, and how many fixes they have.
	near := func(s *spot) (found []*spot, weight int) {
		for _, c := range coarse.around(s.latitude, s.longitude) {
			for _, other := range byCoarse[c] {
				if haversine(s.latitude, s.longitude, other.latitude, other.longitude) <= reach {
					found = append(found, other)
					weight += len(other.fixes)
				}
			}
		}
		return found, weight
	}
	clusters := 0
	for _, s := range spots {
		if s.cluster != none {
			continue
		}
		found, weight := near(s)
		if weight < enough {
			continue
		}
		s.cluster = clusters
		for len(found) > 0 {
			next := found[0]
			found = found[1:]
			if next.cluster != none {
				continue
			}
			next.cluster = clusters
			if more, weight := near(next); weight >= enough {
				found = append(found, more...)
			}
		}
		clusters++
	}
	of := make([]int, len(fixes))
	for _, s := range spots {
		for _, i := range s.fixes {
			of[i] = s.cluster
		}
	}
	return of
}
