package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlaceholders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SERVEBENCH_TEST_MODEL", "a/model")
	t.Setenv("SERVEBENCH_TEST_URL", "http://there:1")
	const text = `
load: {requests: 1}
model: ${env:SERVEBENCH_TEST_MODEL}
served_model: x-${env:SERVEBENCH_TEST_MODEL}
tokenizer: ${env:SERVEBENCH_TEST_MODEL}
server: {url: "${env:SERVEBENCH_TEST_URL}", command: [serve, "--key", "${file:FILE}"], env: {OUT: "${run}/x"}}
headers: {X-Key: "${file:FILE}"}
metadata: {commit: "${env:SERVEBENCH_TEST_MODEL}", free: "${HOME} ${run} ${any}"}
`
	s := parsed(t, strings.ReplaceAll(text, "FILE", file))
	got, err := s.expand(&expander{run: "/runs/1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ got, want string }{
		{got.Model, "a/model"}, {got.ServedModel, "x-a/model"}, {got.Tokenizer, "a/model"}, {got.Server.URL, "http://there:1"}, {got.Server.Command[2], "from a file"},
		{got.Server.Env["OUT"], "/runs/1/x"}, {got.Headers[0].Value, "from a file"}, {got.Metadata[0].Value, "a/model"}, {got.Metadata[1].Value, "${HOME} ${run} ${any}"},
		{s.Model, "${env:SERVEBENCH_TEST_MODEL}"}, // what is kept with the results
	} {
		if tc.got != tc.want {
			t.Errorf("%q; want %q", tc.got, tc.want)
		}
	}
	for model, want := range map[string]string{
		"${env:SERVEBENCH_TEST_NOT_SET}": "the environment has no SERVEBENCH_TEST_NOT_SET", "${file:/nowhere}": "/nowhere: no such file", "${HOST}": "", "${host}": "no such placeholder",
	} {
		_, err := parsed(t, "load: {requests: 1}\nmodel: "+model).expand(&expander{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", model, err, want)
		}
	}
}
