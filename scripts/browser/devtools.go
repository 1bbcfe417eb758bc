package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A browser is a headless Chromium that is talked to over a pipe, in its DevTools protocol: messages end in a zero byte.
type browser struct {
	process *exec.Cmd
	dir     string
	in      *os.File
	reader  *os.File
	done    chan struct{} // closed when reading has ended

	mu      sync.Mutex
	last    int
	waiting map[int]chan reply
	heard   func(session, method string, params json.RawMessage)
	gone    bool
}

type reply struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// flags keep the browser from the network and from what other runs left behind.
var flags = []string{
	"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
}

func startBrowser(program string) (*browser, error) {
	dir, err := os.MkdirTemp("", "servebench-browser-")
	if err != nil {
		return nil, err
	}
	toRead, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, toWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b := &browser{dir: dir, in: in, reader: out, done: make(chan struct{}), waiting: map[int]chan reply{}}
	b.process = exec.Command(program, append(flags, "--user-data-dir="+dir)...)
	b.process.ExtraFiles = []*os.File{toRead, toWrite} // 3 and 4, where the browser looks for them
	err = b.process.Start()
	toRead.Close()
	toWrite.Close()
	if err != nil {
		return nil, err
	}
	go b.read()
	return b, nil
}

func (b *browser) read() {
	defer close(b.done)
	lines := bufio.NewReaderSize(b.reader, 1<<20)
	for {
		text, err := lines.ReadBytes(0)
		if err != nil {
			break
		}
		var message struct {
			ID        int
			SessionID string
			Method    string
			Params    json.RawMessage
			reply
		}
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &message) != nil {
			continue
		}
		b.mu.Lock()
		answer, heard := b.waiting[message.ID], b.heard
		delete(b.waiting, message.ID)
		b.mu.Unlock()
		switch {
		case message.ID != 0 && answer != nil:
			answer <- message.reply
		case message.Method != "" && heard != nil:
			heard(message.SessionID, message.Method, message.Params)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	for id, answer := range b.waiting {
		close(answer)
		delete(b.waiting, id)
	}
}

// call asks the browser, or one of its pages, and reads the answer into result.
func (b *browser) call(session, method string, params, result any) error {
	answer := make(chan reply, 1)
	b.mu.Lock()
	if b.gone {
		b.mu.Unlock()
		return errors.New("the browser has ended")
	}
	b.last++
	id := b.last
	b.waiting[id] = answer
	b.mu.Unlock()
	if params == nil {
		params = struct{}{}
	}
	text, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	if session != "" && err == nil {
		text, err = json.Marshal(map[string]any{"id": id, "sessionId": session, "method": method, "params": params})
	}
	if err != nil {
		return err
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		return err
	}
	select {
	case r, ok := <-answer:
		switch {
		case !ok:
			return errors.New("the browser has ended")
		case r.Error != nil:
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		case result != nil:
			return json.Unmarshal(r.Result, result)
		}
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("%s: no answer within a minute", method)
	}
}

// close ends the browser and removes what it wrote.
func (b *browser) close() {
	_ = b.call("", "Browser.close", nil, nil)
	b.in.Close()
	late := time.AfterFunc(10*time.Second, func() { b.process.Process.Kill() })
	_ = b.process.Wait()
	late.Stop()
	b.reader.Close()
	<-b.done
	os.RemoveAll(b.dir)
}

// A tab is one page.
type tab struct {
	browser         *browser
	target, session string
}

// open opens a page in a context of its own and waits until it has been read.
func (b *browser) open() (*tab, error) {
	t := &tab{browser: b}
	var made struct{ TargetID string }
	if err := b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &made); err != nil {
		return nil, err
	}
	t.target = made.TargetID
	var attached struct{ SessionID string }
	if err := b.call("", "Target.attachToTarget", map[string]any{"targetId": t.target, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	t.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		if err := t.call(domain+".enable", nil, nil); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *tab) close() {
	_ = t.browser.call("", "Target.closeTarget", map[string]any{"targetId": t.target}, nil)
}

func (t *tab) call(method string, params, result any) error {
	return t.browser.call(t.session, method, params, result)
}

// look sets the size of the window and the colours that its user likes.
func (t *tab) look(l look) error {
	if err := t.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": l.width, "height": l.height, "deviceScaleFactor": l.scale, "mobile": l.phone,
	}, nil); err != nil {
		return err
	}
	if err := t.call("Emulation.setTouchEmulationEnabled", map[string]any{"enabled": l.phone}, nil); err != nil {
		return err
	}
	return t.call("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": l.scheme}},
	}, nil)
}

// visit goes to an address and waits until a condition, a JavaScript expression, holds.
func (t *tab) visit(address, condition string) error {
	var went struct{ ErrorText string }
	if err := t.call("Page.navigate", map[string]any{"url": address}, &went); err != nil {
		return err
	}
	if went.ErrorText != "" {
		return fmt.Errorf("%s: %s", address, went.ErrorText)
	}
	return t.wait(condition)
}

// wait waits until an expression is true.
func (t *tab) wait(condition string) error {
	end := time.Now().Add(20 * time.Second)
	for {
		var yes bool
		err := t.eval("Boolean("+condition+")", &yes)
		if yes {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("this never became true: %s", condition), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// eval is the value of an expression in the page.
func (t *tab) eval(expression string, into any) error {
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := t.call("Runtime.evaluate", map[string]any{
		"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true,
	}, &r); err != nil {
		return err
	}
	if e := r.ExceptionDetails; e != nil {
		return fmt.Errorf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if into == nil || len(r.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result.Value, into)
}

// mouse moves or presses at a place of the window.
func (t *tab) mouse(kind string, x, y float64, clicks int) error {
	params := map[string]any{"type": kind, "x": x, "y": y}
	if kind != "mouseMoved" {
		params["button"], params["clickCount"] = "left", clicks
	} else if clicks > 0 {
		params["button"], params["buttons"] = "left", 1
	}
	return t.call("Input.dispatchMouseEvent", params, nil)
}

// box is where an element lies in the window, after it was scrolled there.
func (t *tab) box(selector string) (x, y, width, height float64, err error) {
	var r []float64
	text, _ := json.Marshal(selector)
	err = t.eval(`(() => { const e = document.querySelector(`+string(text)+`); e.scrollIntoView({block: "center", behavior: "instant"}); const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()`, &r)
	if err != nil || len(r) != 4 {
		return 0, 0, 0, 0, fmt.Errorf("%s: no such element: %w", selector, err)
	}
	return r[0], r[1], r[2], r[3], nil
}

// click clicks at shares of an element's width and height.
func (t *tab) click(selector string, atX, atY float64, times int) error {
	x, y, w, h, err := t.box(selector)
	if err != nil {
		return err
	}
	x, y = x+w*atX, y+h*atY
	errs := []error{t.mouse("mouseMoved", x, y, 0)}
	for n := range times {
		errs = append(errs, t.mouse("mousePressed", x, y, n+1), t.mouse("mouseReleased", x, y, n+1))
	}
	return errors.Join(errs...)
}

// drag drags from one place in an element to another.
func (t *tab) drag(selector string, fromX, fromY, toX, toY float64) error {
	x, y, w, h, err := t.box(selector)
	if err != nil {
		return err
	}
	return errors.Join(
		t.mouse("mouseMoved", x+w*fromX, y+h*fromY, 0),
		t.mouse("mousePressed", x+w*fromX, y+h*fromY, 1),
		t.mouse("mouseMoved", x+w*(fromX+toX)/2, y+h*(fromY+toY)/2, 1),
		t.mouse("mouseMoved", x+w*toX, y+h*toY, 1),
		t.mouse("mouseReleased", x+w*toX, y+h*toY, 1),
	)
}

// picture saves the whole page, or, with a selector, what one element shows.
func (t *tab) picture(file, selector string) error {
	if selector == "" {
		selector = "html"
	}
	text, _ := json.Marshal(selector)
	var r []float64
	if err := t.eval(`(() => { const r = document.querySelector(`+string(text)+`).getBoundingClientRect(); return [r.x + scrollX, r.y + scrollY, r.width, r.height]; })()`, &r); err != nil {
		return err
	}
	var shot struct{ Data string }
	if err := t.call("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": r[0], "y": r[1], "width": r[2], "height": r[3], "scale": 1},
	}, &shot); err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o666)
}
