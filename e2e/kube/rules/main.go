// Ruletest reads rules of Prometheus and says what they do: a promtool of two commands.
//
//	ruletest check FILE...   each file holds rules that Prometheus takes
//	ruletest test FILE...    alerts fire and stay silent as the files say
//
// Test files have promtool's format (`rule_files`, `evaluation_interval`, `tests` with `input_series` and
// `alert_rule_test`); what is not known here is refused. Annotations are expanded, and compared where a test names
// them. Rules are evaluated by Prometheus' own engine; promtool itself brings Kubernetes clients and a database, and
// takes minutes to build.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: ruletest check|test FILE...")
		os.Exit(2)
	}
	work := map[string]func(string) error{"check": check, "test": test}[os.Args[1]]
	if work == nil {
		fmt.Fprintf(os.Stderr, "ruletest: no command %q\n", os.Args[1])
		os.Exit(2)
	}
	failed := false
	for _, file := range os.Args[2:] {
		if err := work(file); err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s:\n%v\n", file, err)
		}
	}
	if failed {
		os.Exit(1)
	}
}

var language = parser.NewParser(parser.Options{})

func check(file string) error {
	_, err := load(file)
	return err
}

// load reads a file with rules; templates in them are tried by Prometheus' own check.
func load(file string) (*rulefmt.RuleGroups, error) {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, language, promslog.NewNopLogger())
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			if rule.KeepFiringFor != 0 {
				return nil, fmt.Errorf("%s: keep_firing_for is not known here", rule.Alert)
			}
		}
	}
	return groups, nil
}

// beside is a path as a test file names it.
func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(file), name)
}
