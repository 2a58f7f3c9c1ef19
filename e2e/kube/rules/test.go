package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v2"
)

type testFile struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []testCase     `yaml:"tests"`
}

type testCase struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts []alertTest `yaml:"alert_rule_test"`
}

type alertTest struct {
	At    model.Duration `yaml:"eval_time"`
	Alert string         `yaml:"alertname"`
	Wants []wanted       `yaml:"exp_alerts"`
}

type wanted struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// firing is an alert at one moment.
type firing struct {
	labels      map[string]string
	annotations map[string]string
}

func test(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var tests testFile
	if err := yaml.UnmarshalStrict(text, &tests); err != nil {
		return err
	}
	if tests.EvaluationInterval == 0 {
		return errors.New("no evaluation_interval")
	}
	var groups []rulefmt.RuleGroup
	for _, name := range tests.RuleFiles {
		found, err := load(beside(file, name))
		if err != nil {
			return err
		}
		groups = append(groups, found.Groups...)
	}
	var failed []error
	for _, one := range tests.Tests {
		if err := one.run(groups, time.Duration(tests.EvaluationInterval)); err != nil {
			failed = append(failed, fmt.Errorf("  %s: %w", one.Name, err))
		}
	}
	return errors.Join(failed...)
}

func (t *testCase) run(groups []rulefmt.RuleGroup, step time.Duration) error {
	// Groups know nothing of each other: those of which nothing is asked are left out.
	known, asked := map[string]bool{}, map[string]bool{}
	for _, wants := range t.Alerts {
		asked[wants.Alert] = true
	}
	var of []rulefmt.RuleGroup
	for _, group := range groups {
		uses := false
		for _, rule := range group.Rules {
			known[rule.Alert] = true
			uses = uses || asked[rule.Alert]
		}
		if uses {
			of = append(of, group)
		}
	}
	last := time.Duration(0)
	for _, wants := range t.Alerts {
		if !known[wants.Alert] {
			return fmt.Errorf("no alert %q", wants.Alert)
		}
		if time.Duration(wants.At)%step != 0 {
			return fmt.Errorf("%s at %s: nothing is evaluated then", wants.Alert, wants.At)
		}
		last = max(last, time.Duration(wants.At))
	}
	interval := time.Duration(t.Interval)
	if interval == 0 {
		interval = step
	}
	store := newSeries()
	for _, input := range t.Series {
		if err := store.load(input.Series, input.Values, interval); err != nil {
			return err
		}
	}
	run := newRun(store)
	var failed []error
	for at := time.Duration(0); at <= last; at += step {
		now := time.UnixMilli(at.Milliseconds())
		fires := map[string][]firing{}
		for _, group := range of {
			for _, rule := range group.Rules {
				alerts, err := run.evaluate(rule, now)
				if err != nil {
					return fmt.Errorf("%s%s at %s: %w", rule.Alert, rule.Record, at, err)
				}
				fires[rule.Alert] = append(fires[rule.Alert], alerts...)
			}
		}
		for _, wants := range t.Alerts {
			if time.Duration(wants.At) == at {
				if err := wants.compare(fires[wants.Alert]); err != nil {
					failed = append(failed, err)
				}
			}
		}
	}
	return errors.Join(failed...)
}

func (t *alertTest) compare(found []firing) error {
	left := slices.Clone(found)
	var missing []string
	for _, want := range t.Wants {
		all := maps.Clone(want.Labels)
		if all == nil {
			all = map[string]string{}
		}
		all[labels.AlertName] = t.Alert
		place := slices.IndexFunc(left, func(one firing) bool {
			same := want.Annotations == nil || maps.Equal(one.annotations, want.Annotations)
			return same && maps.Equal(one.labels, all)
		})
		if place < 0 {
			missing = append(missing, fmt.Sprint(all, want.Annotations))
			continue
		}
		left = slices.Delete(left, place, place+1)
	}
	if len(missing) == 0 && len(left) == 0 {
		return nil
	}
	var unwanted []string
	for _, one := range left {
		unwanted = append(unwanted, fmt.Sprint(one.labels, one.annotations))
	}
	return fmt.Errorf("%s at %s\n    missing:  %s\n    unwanted: %s", t.Alert, t.At,
		strings.Join(missing, "\n              "), strings.Join(unwanted, "\n              "))
}

// run is the state of one test: what alerts have been waiting for since when.
type run struct {
	store  *series
	engine *promql.Engine
	since  map[string]map[uint64]time.Time
}

func newRun(store *series) *run {
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples:               10_000_000,
		Timeout:                  time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 15_000 },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		Parser:                   language,
	})
	return &run{store, engine, map[string]map[uint64]time.Time{}}
}

func (r *run) query(text string, now time.Time) (promql.Vector, error) {
	ctx := context.Background()
	query, err := r.engine.NewInstantQuery(ctx, r.store, nil, text, now)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	switch value := result.Value.(type) {
	case promql.Vector:
		return slices.Clone(value), nil
	case promql.Scalar:
		return promql.Vector{{T: value.T, F: value.V}}, nil
	default:
		return nil, fmt.Errorf("a rule cannot have a %s", value.Type())
	}
}

// evaluate returns the alerts of a rule that fire now, or keeps what it records.
func (r *run) evaluate(rule rulefmt.Rule, now time.Time) ([]firing, error) {
	found, err := r.query(rule.Expr, now)
	if err != nil {
		return nil, err
	}
	if rule.Record != "" {
		for _, sample := range found {
			set := labels.NewBuilder(sample.Metric).Set(labels.MetricName, rule.Record)
			for name, value := range rule.Labels {
				set.Set(name, value)
			}
			r.store.add(set.Labels(), now.UnixMilli(), sample.F)
		}
		return nil, nil
	}
	before, waits := r.since[rule.Alert], map[uint64]time.Time{}
	var fires []firing
	for _, sample := range found {
		hash := sample.Metric.Hash()
		since, waited := before[hash]
		if !waited {
			since = now
		}
		waits[hash] = since
		if now.Sub(since) < time.Duration(rule.For) {
			continue
		}
		alert, err := r.expand(rule, sample, now)
		if err != nil {
			return nil, err
		}
		fires = append(fires, alert)
	}
	r.since[rule.Alert] = waits
	return fires, nil
}

// expand makes the labels and annotations of an alert.
func (r *run) expand(rule rulefmt.Rule, sample promql.Sample, now time.Time) (firing, error) {
	own := sample.Metric.Map()
	data := template.AlertTemplateData(own, nil, "", sample)
	// As Prometheus puts it before each template.
	const names = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
	expand := func(text string) (string, error) {
		expander := template.NewTemplateExpander(context.Background(), names+text, rule.Alert, data,
			model.Time(now.UnixMilli()), func(_ context.Context, text string, at time.Time) (promql.Vector, error) {
				return r.query(text, at)
			}, &url.URL{}, nil)
		return expander.Expand()
	}
	alert := firing{map[string]string{labels.AlertName: rule.Alert}, map[string]string{}}
	for name, value := range own {
		if name != labels.MetricName {
			alert.labels[name] = value
		}
	}
	for name, text := range rule.Labels {
		value, err := expand(text)
		if err != nil {
			return firing{}, err
		}
		alert.labels[name] = value
	}
	for name, text := range rule.Annotations {
		value, err := expand(text)
		if err != nil {
			return firing{}, err
		}
		alert.annotations[name] = value
	}
	return alert, nil
}
