package datasets

import (
	"encoding/json"
	"strings"
)

// url is a reference as it goes into a request: what has none of the schemes is a path.
func url(ref string, schemes ...string) string {
	for _, s := range schemes {
		if strings.HasPrefix(ref, s) {
			return ref
		}
	}
	return "file://" + ref
}

func urlMedia(kind, ref string) Media {
	return Media{Type: kind, JSON: json.RawMessage(object("type", quote(kind), kind, object("url", quote(ref))))}
}

// imageURL is an image that is named: a URL, a data URL or a path.
func imageURL(ref string) Media {
	return urlMedia("image_url", url(ref, "http://", "https://", "file://", "data:image/"))
}

// videoURL is a video that is named: a URL or a path.
func videoURL(ref string) Media {
	return urlMedia("video_url", url(ref, "http://", "https://", "file://"))
}

// chatted makes the prompt of a sample into a chat message that holds its media, if that
// is asked for.
func (b *build) chatted(s *Sample) {
	if !b.Chat {
		return
	}
	parts := []string{object("text", quote(s.Prompt.Text), "type", `"text"`)}
	for _, m := range s.Media {
		parts = append(parts, string(m.JSON))
	}
	s.Prompt = Prompt{JSON: json.RawMessage(userMessage(list(parts...)))}
}

// userMessage is a chat of one message; content is JSON.
func userMessage(content string) string {
	return list(object("role", `"user"`, "content", content))
}
