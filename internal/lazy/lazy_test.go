package lazy

import "testing"

func TestRegexp(t *testing.T) {
	digits := Regexp(`^\d+$`)
	if first, second := digits(), digits(); first != second {
		t.Error("compiled twice")
	}
	if !digits().MatchString("12") || digits().MatchString("x") {
		t.Error("not the expression that was asked for")
	}
	defer func() {
		if recover() == nil {
			t.Error("a wrong expression waits for its first use in a test")
		}
	}()
	Regexp(`(`)
}
