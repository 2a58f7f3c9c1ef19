package main

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// point is a sample without a histogram.
type point struct {
	at    int64
	value float64
}

func (p point) T() int64                      { return p.at }
func (p point) ST() int64                     { return 0 }
func (p point) F() float64                    { return p.value }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }

// series is a store of one test, in memory.
type series struct {
	byHash map[uint64]*row
}

type row struct {
	labels labels.Labels
	points []chunks.Sample
}

func newSeries() *series {
	return &series{byHash: map[uint64]*row{}}
}

// load adds the samples that a test describes, such as `up{job="a"}` and `1 1 0x5`, from time 0 on.
func (s *series) load(name, values string, interval time.Duration) error {
	set, sequence, err := language.ParseSeriesDesc(name + " " + values)
	if err != nil {
		return fmt.Errorf("series %s: %w", name, err)
	}
	if s.byHash[set.Hash()] != nil {
		return fmt.Errorf("series %s is there twice", name)
	}
	for i, value := range sequence {
		if value.Histogram != nil {
			return fmt.Errorf("series %s: histograms are not known here", name)
		}
		if !value.Omitted {
			s.add(set, int64(i)*interval.Milliseconds(), value.Value)
		}
	}
	return nil
}

func (s *series) add(set labels.Labels, at int64, value float64) {
	found := s.byHash[set.Hash()]
	if found == nil {
		found = &row{labels: set}
		s.byHash[set.Hash()] = found
	}
	found.points = append(found.points, point{at, value})
}

func (s *series) Querier(from, to int64) (storage.Querier, error) {
	return &querier{s, from, to}, nil
}

type querier struct {
	*series
	from, to int64
}

func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []storage.Series
	for _, row := range q.byHash {
		if !matches(row.labels, matchers) {
			continue
		}
		at := func(i int) int64 { return row.points[i].T() }
		first := sort.Search(len(row.points), func(i int) bool { return at(i) >= q.from })
		end := sort.Search(len(row.points), func(i int) bool { return at(i) > q.to })
		if first < end {
			found = append(found, storage.NewListSeries(row.labels, row.points[first:end]))
		}
	}
	sort.Slice(found, func(i, j int) bool {
		return labels.Compare(found[i].Labels(), found[j].Labels()) < 0
	})
	return &set{found: found, next: -1}
}

func matches(set labels.Labels, matchers []*labels.Matcher) bool {
	for _, matcher := range matchers {
		if !matcher.Matches(set.Get(matcher.Name)) {
			return false
		}
	}
	return true
}

func (*querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*querier) Close() error { return nil }

type set struct {
	found []storage.Series
	next  int
}

func (s *set) Next() bool {
	s.next++
	return s.next < len(s.found)
}

func (s *set) At() storage.Series              { return s.found[s.next] }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }
