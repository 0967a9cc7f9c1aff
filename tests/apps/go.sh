#!/bin/bash
# Go: build and run a program with goroutines, channels, net/http, processes, signals and files; go test.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
export HOME=$work GOPATH=$work/go GOCACHE=$work/cache GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off
cat >go.mod <<'MOD'
module example.test/main

go 1.19
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func Sum(n int) int {
	if n == 0 {
		return 0
	}
	return n + Sum(n-1)
}

func main() {
	fmt.Println("== goroutines")
	var group sync.WaitGroup
	results := make(chan int, 1000)
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func(n int) { defer group.Done(); runtime.Gosched(); results <- Sum(n) }(i)
	}
	group.Wait()
	close(results)
	total := 0
	for r := range results {
		total += r
	}
	fmt.Println(total, Sum(1000000) > 0)
	stop := make(chan bool)
	go func() { for { select { case <-stop: return; default: } } }() // preempted by signals
	runtime.GC()
	close(stop)

	fmt.Println("== net/http")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil { panic(err) }
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(body))
	})}
	go server.Serve(listener)
	texts := make([]string, 20)
	for i := range texts {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			r, err := http.Post(fmt.Sprintf("http://%s/%d", listener.Addr(), i), "text/plain", strings.NewReader(strings.Repeat("x", i*1000)))
			if err != nil { panic(err) }
			text, _ := io.ReadAll(r.Body)
			r.Body.Close()
			texts[i] = string(text)
		}(i)
	}
	group.Wait()
	fmt.Println(strings.Join(texts, ", "))
	fmt.Println(server.Shutdown(context.Background()))
	client, other := net.Pipe()
	go func() { other.Write([]byte("pipe")); other.Close() }()
	text, _ := io.ReadAll(client)
	fmt.Println(string(text))
	_, err = net.DialTimeout("tcp", listener.Addr().String(), time.Second)
	fmt.Println(strings.HasSuffix(err.Error(), "connection refused"))
	packets, _ := net.ListenPacket("udp", "127.0.0.1:0")
	packets.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, _, err = packets.ReadFrom(make([]byte, 10))
	fmt.Println(os.IsTimeout(err))
	interfaces, err := net.Interfaces()
	fmt.Println(len(interfaces) > 0, err)

	fmt.Println("== processes and signals")
	out, err := exec.Command("sh", "-c", "echo $0 $1; exit 4", "a", "b").Output()
	fmt.Print(string(out), err, "\n")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(exec.CommandContext(ctx, "sleep", "100").Run())
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-c)
	func() {
		defer func() { fmt.Println(recover()) }()
		var p *int
		*p = 1
	}()
	fmt.Println("== files and time")
	os.WriteFile("file", []byte("text"), 0o640)
	info, _ := os.Stat("file")
	fmt.Println(info.Size(), info.Mode())
	entries, _ := os.ReadDir("/proc/self/fd")
	fmt.Println(len(entries) > 2, runtime.NumCPU() > 0)
	start := time.Now()
	<-time.After(10 * time.Millisecond)
	fmt.Println(time.Since(start) >= 10*time.Millisecond)
}
GO
cat >main_test.go <<'GO'
package main

import "testing"

func TestSum(t *testing.T) {
	t.Parallel()
	if Sum(10) != 55 {
		t.Fail()
	}
}
GO
go vet ./... && echo vetted
go build -o main . && ./main
[[ ${APP_SIZE:-short} == short ]] || go test ./... | cut -f1,2
