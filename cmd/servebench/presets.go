package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"servebench/loadgen/scenario"
)

func presetsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "presets",
		Short:   "List the built-in scenarios",
		Example: "  servebench presets\n  servebench presets show gaudi-e2e-multi > mine.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range scenario.Presets() {
				s, err := scenario.Read(name, nil)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-28s %s\n", name, wrap(s.About, 28+1, 110))
			}
			return nil
		},
	}
	var script bool
	show := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print a scenario as YAML, or the program of a script scenario",
		Example: "  servebench presets show gaudi-e2e-multi\n  servebench presets show --script gaudi-e2e-script > profile.py",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return scenario.Presets(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !script {
				text, err := scenario.PresetYAML(args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(cmd.OutOrStdout(), text)
				return err
			}
			s, err := scenario.Read(args[0], nil)
			if err != nil {
				return err
			}
			if s.Script == nil || s.Script.Program == "" {
				return errors.New(args[0] + " has no program: its load is sent by servebench itself")
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), s.Script.Program)
			return err
		},
	}
	show.Flags().BoolVar(&script, "script", false, "print the program")
	cmd.AddCommand(show)
	return cmd
}

// wrap breaks text at blanks, with later lines indented.
func wrap(text string, indent, width int) string {
	var b strings.Builder
	column := indent
	for i, word := range strings.Fields(text) {
		if i > 0 {
			if column+1+len(word) > width {
				b.WriteString("\n" + strings.Repeat(" ", indent))
				column = indent
			} else {
				b.WriteByte(' ')
				column++
			}
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
