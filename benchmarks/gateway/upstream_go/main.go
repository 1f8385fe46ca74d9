// The upstream of the benchmark: one trivial tool, `echo`, on the official SDK for Go.
//
// `upstream http PORT` serves HTTP on a port of loopback (0: one that is free) and prints one line of JSON with
// its addresses. The SDK serves 2026-07-28 only without sessions and 2025-11-25 only well with them, so there
// are two paths: /modern and /legacy. GET /count tells how often the tool was called, so that whoever
// measures knows that no call was answered by anybody else; POST /fail?for=2s makes it answer 503 so long.
//
// `upstream stdio` serves the same tool over standard input and output, line by line and without the SDK:
// it stands behind the runner, and is to cost as little as it can.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type arguments struct {
	Text string `json:"text,omitempty" jsonschema:"what to say back"`
}

var (
	calls       atomic.Int64
	failedUntil atomic.Int64
)

func echo(_ context.Context, _ *mcp.CallToolRequest, given arguments) (*mcp.CallToolResult, any, error) {
	calls.Add(1)
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: given.Text}}}, nil, nil
}

func handler(stateless bool) http.Handler {
	server := mcp.NewServer(&mcp.Implementation{Name: "benchmark", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "echo", Description: "Say it back."}, echo)
	options := &mcp.StreamableHTTPOptions{Stateless: stateless, JSONResponse: true}
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options)
}

func failing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if time.Now().UnixNano() < failedUntil.Load() {
			http.Error(answer, "told to fail", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(answer, request)
	})
}

func serveHTTP(port string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	paths := http.NewServeMux()
	paths.Handle("/modern", failing(handler(true)))
	paths.Handle("/legacy", failing(handler(false)))
	paths.HandleFunc("/count", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(answer, "%d", calls.Load())
	})
	paths.HandleFunc("/fail", func(_ http.ResponseWriter, request *http.Request) {
		if lasting, err := time.ParseDuration(request.URL.Query().Get("for")); err == nil {
			failedUntil.Store(time.Now().Add(lasting).UnixNano())
		}
	})
	base := "http://" + listener.Addr().String()
	fmt.Printf("{\"url\": %q, \"modern\": %q, \"legacy\": %q}\n", base, base+"/modern", base+"/legacy")
	return http.Serve(listener, paths)
}

type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Arguments arguments `json:"arguments"`
	} `json:"params"`
}

const (
	envelope = `"resultType":"complete","ttlMs":0,"cacheScope":"private"`
	tools    = `"tools":[{"name":"echo","inputSchema":{"type":"object"}}]`
	found    = `"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}`
)

func result(asked request) (string, bool) {
	switch asked.Method {
	case "server/discover":
		return "{" + envelope + "," + found + "}", true
	case "tools/list":
		return "{" + envelope + "," + tools + "}", true
	case "tools/call":
		said, _ := json.Marshal(asked.Params.Arguments.Text)
		return `{"resultType":"complete","content":[{"type":"text","text":` + string(said) + `}]}`, true
	}
	return "", false
}

func serveLines() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 65536), 1<<26)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil || asked.ID == nil {
			continue
		}
		body := `"error":{"code":-32601,"message":"Method not found"}`
		if given, known := result(asked); known {
			body = `"result":` + given
		}
		fmt.Fprintf(os.Stdout, `{"jsonrpc":"2.0","id":%s,%s}`+"\n", asked.ID, body)
	}
	return lines.Err()
}

func main() {
	err := fmt.Errorf("usage: upstream http PORT | upstream stdio")
	if len(os.Args) == 3 && os.Args[1] == "http" {
		err = serveHTTP(os.Args[2])
	} else if len(os.Args) == 2 && os.Args[1] == "stdio" {
		err = serveLines()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
