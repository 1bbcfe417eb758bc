package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of scenario files",
		Long: `schema prints the JSON Schema of scenario files, with which editors complete and check them. For an editor with the YAML language server,
put it beside the scenario and begin the scenario with

  # yaml-language-server: $schema=scenario.schema.json`,
		Example: "  servebench schema > scenario.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := scenario.Schema()
			if err != nil {
				return failed(err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return failed(err)
		},
	}
}

// checkScenario says that a scenario has no faults, or all that it has.
func checkScenario(cmd *cobra.Command, name string, sets []string) error {
	s, err := scenario.CheckFile(name, sets)
	if err != nil {
		return err
	}
	what := "one run"
	switch {
	case s.Search != nil && s.Sweep != nil:
		what = "a search at every point of a sweep"
	case s.Search != nil:
		what = "a search"
	case s.Sweep != nil:
		what = "a sweep"
	case s.Repeats > 1:
		what = fmt.Sprintf("%d runs", s.Repeats)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: no faults: %s\n", name, what)
	return failed(err)
}

// dryRun prints what a run would do.
func dryRun(cmd *cobra.Command, s *scenario.Scenario, o scenario.Options) error {
	preview, err := scenario.DryRun(cmd.Context(), s, o)
	if preview == nil {
		return err
	}
	if textErr := preview.Text(cmd.OutOrStdout()); textErr != nil {
		return failed(textErr)
	}
	return failed(err)
}
