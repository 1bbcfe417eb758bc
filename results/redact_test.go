package results

import (
	"slices"
	"strings"
	"testing"
)

func TestSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"Authorization": true, "authorization": true, "Proxy-Authorization": true, "x-api-key": true, "X-API-Key": true,
		"api_key": true, "apikey": true, "apiKey": true, "OPENAI_API_KEY": true, "Cookie": true, "Set-Cookie": true, "HF_TOKEN": true,
		"hfToken": true, "AWS_SECRET_ACCESS_KEY": true, "password": true, "--api-key": true, "X-Auth-Token": true,
		"max_tokens": false, "max_completion_tokens": false, "tokenizer": false, "--tokenizer": false, "token_ids": true,
		"x-request-id": false, "key": false, "keyword": false, "author": false, "Content-Type": false, "monkey": false, "": false,
	} {
		if got := Secret(name); got != want {
			t.Errorf("Secret(%q) = %t, want %t", name, got, want)
		}
	}
}

func TestRedactArgs(t *testing.T) {
	got := RedactArgs([]string{
		"bench", "serve", "--header", "Authorization=Bearer abc", "X-Team=blue", "--header=Cookie=a=b", "--api-key", "sk-1",
		"--hf-token=hf_1", "--max-tokens", "5", "--base-url", "http://me:pw@host:8000/v1?api_key=9&x=1", "-H", "x-api-key: 7",
		"--extra-body", `{"api_key":"k","max_tokens":4,"top_p":0.5}`, "--metadata", "who=me", "--api-key", "--num-prompts", "3",
		"HF_TOKEN=hf_2",
	})
	want := []string{
		"bench", "serve", "--header", "Authorization=***", "X-Team=blue", "--header=Cookie=***", "--api-key", "***",
		"--hf-token=***", "--max-tokens", "5", "--base-url", "http://***@host:8000/v1?api_key=***&x=1", "-H", "x-api-key:***",
		"--extra-body", `{"api_key":"***","max_tokens":4,"top_p":0.5}`, "--metadata", "who=me", "--api-key", "--num-prompts", "3",
		"HF_TOKEN=***",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRedactJSON(t *testing.T) {
	got := string(RedactJSON([]byte(`{"headers":{"Authorization":"Bearer x","n":1},"env":["HF_TOKEN=abc","A=b"],"max_tokens":5,` +
		`"secrets":{"a":"keep"},"token":{"deep":["hide",1.50]},"url":"http://u:p@h/","empty":{"password":""},"text":"a < b"}`)))
	want := `{"empty":{"password":""},"env":["HF_TOKEN=***","A=b"],"headers":{"Authorization":"***","n":1},"max_tokens":5,` +
		`"secrets":{"a":"keep"},"text":"a < b","token":{"deep":["***",1.50]},"url":"http://***@h/"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(RedactJSON([]byte(`{"token":`))); got != "null" {
		t.Errorf("broken JSON became %s", got)
	}
	if got := RedactJSON(nil); got != nil {
		t.Errorf("nothing became %s", got)
	}
}

func TestRedactText(t *testing.T) {
	for text, want := range map[string]string{
		"vllm serve m --api-key sk-1 --port 8":          "vllm serve m --api-key *** --port 8",
		`curl -H "Authorization: Bearer abc" http://h/`: `curl -H "Authorization: *** *** http://h/`,
		`x --header "Authorization=Bearer abc" -n 3`:    `x --header "Authorization=*** *** -n 3`,
		"HF_TOKEN=a vllm  serve":                        "HF_TOKEN=***",
		"A=1 HF_TOKEN=a vllm  serve\n":                  "A=1 HF_TOKEN=*** vllm  serve\n",
		"see http://a b: c":                             "see http://a b: c",
		"an odd one, http://u:p@h/x":                    "an odd one, http://***@h/x",
	} {
		if got := redactWord(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestRedactHeader(t *testing.T) {
	if got := RedactHeader("X-Api-Key", "v"); got != "***" {
		t.Errorf("kept %q", got)
	}
	if got := RedactHeader("X-Team", "v"); got != "v" {
		t.Errorf("lost %q", got)
	}
}

func FuzzRedactArgs(f *testing.F) {
	f.Add("--header=Authorization=Bearer s3cr3t")
	f.Add("http://a:s3cr3t@b")
	f.Add(`{"a":{"token":["s3cr3t"]}}`)
	f.Fuzz(func(t *testing.T, arg string) {
		got := RedactArgs([]string{"--api-key", "s3cr3t", arg})
		if len(got) != 3 || strings.Contains(got[1], "s3cr3t") {
			t.Fatalf("%q became %q", arg, got)
		}
	})
}
