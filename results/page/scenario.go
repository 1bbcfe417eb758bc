package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"servebench/results"
)

// stageName is what a stage is called.
func stageName(names []string, i int) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	return fmt.Sprintf("stage %d", i+1)
}

// stageNames are those that the scenario gives.
func stageNames(m *results.Manifest) []string {
	var s struct {
		Stages []struct {
			Name string `json:"name"`
		} `json:"stages"`
	}
	if json.Unmarshal(m.Scenario, &s) != nil {
		return nil
	}
	var names []string
	for _, stage := range s.Stages {
		names = append(names, stage.Name)
	}
	return names
}

// commandLine is a command as a shell reads it.
func commandLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellWord(w)
	}
	return strings.Join(quoted, " ")
}

func shellWord(w string) string {
	plain := func(r rune) bool {
		return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("-_=+./,:@%^", r)
	}
	if w != "" && strings.IndexFunc(w, func(r rune) bool { return !plain(r) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// yamlOf words JSON as YAML, keys in the order they have.
func yamlOf(text json.RawMessage) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var b strings.Builder
	if err := yamlValue(&b, dec, 0, false); err != nil {
		return "", err
	}
	return strings.TrimPrefix(b.String(), "\n"), nil
}

// yamlValue writes the next value; it begins right behind its key or dash.
func yamlValue(b *strings.Builder, dec *json.Decoder, indent int, inList bool) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		first := true
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			if first && inList {
				b.WriteString(" ")
			} else {
				b.WriteString("\n" + strings.Repeat("  ", indent))
			}
			first = false
			b.WriteString(yamlScalar(key.(string)) + ":")
			if err := yamlValue(b, dec, indent+1, false); err != nil {
				return err
			}
		}
		if first {
			b.WriteString(" {}")
		}
		_, err = dec.Token()
		return err
	case json.Delim('['):
		empty := true
		for dec.More() {
			empty = false
			b.WriteString("\n" + strings.Repeat("  ", indent) + "-")
			if err := yamlValue(b, dec, indent+1, true); err != nil {
				return err
			}
		}
		if empty {
			b.WriteString(" []")
		}
		_, err = dec.Token()
		return err
	}
	switch v := token.(type) {
	case string:
		b.WriteString(" " + yamlScalar(v))
	case nil:
		b.WriteString(" null")
	default:
		fmt.Fprintf(b, " %v", v)
	}
	return nil
}

// yamlScalar is a string that YAML reads as that string: bare where nothing in it means anything, else as JSON writes it.
func yamlScalar(s string) string {
	bare := s != "" && s == strings.TrimSpace(s) && !strings.HasSuffix(s, ":") && !strings.Contains(s, ": ") && !strings.Contains(s, " #") &&
		!strings.ContainsAny(s[:1], "-?:,[]{}#&*!|>'\"%@`.~0123456789+=<") && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		bare = false
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil { // inf, nan
		bare = false
	}
	if bare {
		return s
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
