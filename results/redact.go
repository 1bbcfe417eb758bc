package results

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"unicode"
)

// Redacted stands where a secret stood.
const Redacted = "***"

// Secret says that values under name (a header, a variable, a flag, a key) must not be kept. A
// plural ("max_tokens") is a number, not a secret.
func Secret(name string) bool {
	words := wordsOf(name)
	for i, word := range words {
		switch word {
		case "authorization", "auth", "cookie", "token", "secret", "password", "passwd", "passphrase",
			"credential", "credentials", "apikey", "bearer", "signature", "jwt":
			return true
		case "key":
			if i > 0 {
				switch words[i-1] {
				case "api", "access", "private", "secret", "subscription", "functions", "account", "license":
					return true
				}
			}
		}
	}
	return false
}

// wordsOf splits a name at everything that is no letter or digit, and where a small letter meets a capital.
func wordsOf(name string) []string {
	var words []string
	var word []rune
	lower := false
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) || lower && unicode.IsUpper(r) {
			if len(word) > 0 {
				words = append(words, string(word))
			}
			word = word[:0]
		}
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			word = append(word, unicode.ToLower(r))
		}
		lower = unicode.IsLower(r)
	}
	if len(word) > 0 {
		words = append(words, string(word))
	}
	return words
}

// RedactHeader is value, unless name says that it is a secret.
func RedactHeader(name, value string) string {
	if Secret(name) {
		return Redacted
	}
	return value
}

// RedactArgs is a command line without its secrets: values of secret flags and of NAME=VALUE and
// "Name: value" words with a secret name, and what URLs carry.
func RedactArgs(args []string) []string {
	out := make([]string, len(args))
	hideNext := false
	for i, arg := range args {
		isFlag := strings.HasPrefix(arg, "-") && len(arg) > 1
		switch {
		case hideNext && !isFlag:
			out[i] = Redacted
			hideNext = false
			continue
		default:
			hideNext = false
		}
		if isFlag {
			if name, value, ok := strings.Cut(arg, "="); !ok {
				hideNext = Secret(name)
				out[i] = arg
			} else if Secret(name) {
				out[i] = name + "=" + Redacted
			} else {
				out[i] = name + "=" + redactWord(value)
			}
			continue
		}
		out[i] = redactWord(arg)
	}
	return out
}

// redactWord hides the secret in a word: NAME=VALUE, Name: value, a URL, a JSON value, a command line in one word.
func redactWord(word string) string {
	if trimmed := strings.TrimSpace(word); strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") {
		if json.Valid([]byte(word)) {
			return string(RedactJSON([]byte(word)))
		}
	}
	if i := strings.IndexAny(word, "=:"); i > 0 && !strings.ContainsAny(word[:i], " \t\n") && Secret(word[:i]) {
		return word[:i+1] + Redacted
	}
	if strings.ContainsAny(word, " \t\n") {
		return redactText(word)
	}
	if strings.Contains(word, "://") {
		return RedactURL(word)
	}
	if name, value, ok := strings.Cut(word, "="); ok {
		// --header in one word: header=Authorization=...
		if i := strings.IndexAny(value, "=:"); i > 0 && Secret(value[:i]) {
			return name + "=" + value[:i+1] + Redacted
		}
	}
	return word
}

// redactText hides the secrets in a text of several words, such as a command in one string. A secret that
// is announced ("--api-key", "Authorization:", "Bearer") is the next word.
func redactText(text string) string {
	var out strings.Builder
	hideNext := false
	for len(text) > 0 {
		start := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsSpace(r) })
		if start < 0 {
			break
		}
		out.WriteString(text[:start])
		text = text[start:]
		end := strings.IndexFunc(text, unicode.IsSpace)
		if end < 0 {
			end = len(text)
		}
		word := text[:end]
		text = text[end:]
		bare := strings.ToLower(strings.Trim(word, `"'`))
		i := strings.IndexAny(word, "=:")
		scheme := strings.HasSuffix(bare, "bearer") || strings.HasSuffix(bare, "basic")
		switch {
		case hideNext && !strings.HasPrefix(word, "-"):
			out.WriteString(Redacted)
			hideNext = scheme
		case strings.HasPrefix(bare, "-") && i < 0:
			out.WriteString(word)
			hideNext = Secret(word)
		case i > 0 && Secret(word[:i]):
			value := strings.Trim(word[i+1:], `"'`)
			if value == "" {
				out.WriteString(word)
			} else {
				out.WriteString(word[:i+1] + Redacted)
			}
			hideNext = value == "" || scheme
		case bare == "bearer":
			out.WriteString(word)
			hideNext = true
		default:
			out.WriteString(redactWord(word))
			hideNext = false
		}
	}
	out.WriteString(text)
	return out.String()
}

// RedactURL is a URL without user, password and the values of secret parameters.
func RedactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		// NAME=https://... is no URL, but may hold one.
		if name, rest, ok := strings.Cut(text, "="); ok && !strings.Contains(name, "://") && strings.Contains(rest, "://") {
			return name + "=" + RedactURL(rest)
		}
		if strings.Contains(text, "@") {
			return Redacted
		}
		return text
	}
	changed := false
	if u.User != nil {
		u.User = url.User(Redacted)
		changed = true
	}
	query := u.Query()
	for name := range query {
		if Secret(name) || name == "key" || name == "sig" {
			query.Set(name, Redacted)
			changed = true
		}
	}
	if !changed {
		return text
	}
	u.RawQuery = query.Encode()
	return strings.ReplaceAll(u.String(), url.QueryEscape(Redacted), Redacted)
}

// RedactJSON is a JSON value without the strings that stand under a secret key, at any depth, and
// without what URLs carry. The order of keys is lost; a text that is no JSON comes back as null.
func RedactJSON(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return raw
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return json.RawMessage("null")
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(redactValue(v, false)); err != nil {
		return json.RawMessage("null")
	}
	return bytes.TrimSpace(out.Bytes())
}

func redactValue(v any, isSecret bool) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = redactValue(inner, isSecret || Secret(key))
		}
	case []any:
		for i, inner := range v {
			v[i] = redactValue(inner, isSecret)
		}
	case string:
		switch {
		case v == "":
		case isSecret:
			return Redacted
		default:
			return redactWord(v)
		}
	}
	return v
}
