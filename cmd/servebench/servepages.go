package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// pages are what a command serves to the browser on this machine.
type pages struct {
	command string
	handler http.Handler
	// idle is how long nobody may ask before the command ends, and ended what it then says; nothing if that is empty.
	idle  func() time.Duration
	ended func() string
}

// servePages serves pages until the context ends or nobody asks any more.
func servePages(ctx context.Context, talk io.Writer, f viewFlags, p pages) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(f.port)))
	if err != nil {
		return fmt.Errorf("%w: choose another --port, or none for a free one", err)
	}
	address := "http://" + listener.Addr().String() + "/"
	fmt.Fprintf(talk, "%s: %s (Ctrl-C ends it)\n", p.command, address)

	idle := time.NewTimer(p.idle())
	defer idle.Stop()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			idle.Reset(p.idle())
			p.handler.ServeHTTP(w, r)
			idle.Reset(p.idle())
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if !f.noOpen {
		if err := openBrowser(ctx, address); err != nil {
			fmt.Fprintf(talk, "%s: no browser could be started (%v): open the address yourself\n", p.command, err)
		}
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	case <-idle.C:
		if says := p.ended(); says != "" {
			fmt.Fprintf(talk, "%s: %s\n", p.command, says)
		}
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(end) != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
