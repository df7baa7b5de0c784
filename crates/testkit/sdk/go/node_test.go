package sdk

// A real node for the suite: the `fanfare` binary on a free port, its server API, and tokens for its clients.

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	apiKey     = "suite-key-7Zq3kV9tXw2m"
	hmacSecret = "suite-secret-h4T8cQ1rYb6nJ0sWm5eKx3zPd7"
	readyTime  = 20 * time.Second
	stopTime   = 10 * time.Second
)

type object = map[string]any

type node struct {
	address string
	process *exec.Cmd
	ended   chan error
	log     bytes.Buffer
}

func startNode() (*node, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	n := &node{address: address, ended: make(chan error, 1)}
	n.process = exec.Command(binary(), "serve", "--config", "../node.toml")
	// Nothing of the surroundings: a variable of the person who runs the suite must not change the node.
	n.process.Env = []string{"FANFARE_LISTEN__ADDRESS=" + address}
	n.process.Stderr = &n.log
	if err := n.process.Start(); err != nil {
		return nil, err
	}
	go func() { n.ended <- n.process.Wait() }()
	return n, n.waitUntilReady()
}

func (n *node) waitUntilReady() error {
	for until := time.Now().Add(readyTime); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-n.ended:
			return fmt.Errorf("the node ended: %v\n%s", err, n.log.String())
		default:
		}
		if answer, err := http.Get("http://" + n.address + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	_ = n.process.Process.Kill()
	<-n.ended
	return fmt.Errorf("%s did not get ready:\n%s", binary(), n.log.String())
}

func (n *node) stop() error {
	select {
	case err := <-n.ended:
		return fmt.Errorf("the node had ended by itself: %v\n%s", err, n.log.String())
	default:
	}
	_ = n.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(stopTime):
		_ = n.process.Process.Kill()
		<-n.ended
	}
	return nil
}

// api calls a method of the server API and returns its result.
func (n *node) api(t *testing.T, method string, request object) object {
	t.Helper()
	body, err := json.Marshal(request)
	check(t, err)
	call, err := http.NewRequest(http.MethodPost, "http://"+n.address+"/api/"+method, bytes.NewReader(body))
	check(t, err)
	call.Header.Set("Content-Type", "application/json")
	call.Header.Set("X-API-Key", apiKey)
	response, err := http.DefaultClient.Do(call)
	check(t, err)
	defer response.Body.Close()
	var answer struct {
		Result object
		Error  object
	}
	check(t, json.NewDecoder(response.Body).Decode(&answer))
	if answer.Error != nil {
		t.Fatalf("%s: %v", method, answer.Error)
	}
	return answer.Result
}

func (n *node) publish(t *testing.T, channel string, data any) {
	t.Helper()
	n.api(t, "publish", object{"channel": channel, "data": data})
}

// token makes a connection token, or a subscription token where the claims name a channel.
func token(claims object) string {
	encode := func(part any) string {
		text, _ := json.Marshal(part)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := encode(object{"alg": "HS256", "typ": "JWT"}) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(hmacSecret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func inSeconds(seconds int64) int64 {
	return time.Now().Unix() + seconds
}

func binary() string {
	if path := os.Getenv("SUITE_BINARY"); path != "" {
		return path
	}
	return "../../../../target/debug/fanfare"
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
