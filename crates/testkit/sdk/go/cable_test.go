package sdk

// A TCP path to the node that can be cut, as a tunnel or a train does it: no close frame, and nobody gets through.

import (
	"io"
	"net"
	"sync"
	"testing"
)

type cable struct {
	listener net.Listener
	target   string
	lock     sync.Mutex
	up       bool
	ends     map[net.Conn]bool
}

func layCable(t *testing.T, target string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	c := &cable{listener: listener, target: target, up: true, ends: map[net.Conn]bool{}}
	go c.accept()
	t.Cleanup(func() {
		c.cut()
		listener.Close()
	})
	return c
}

func (c *cable) address() string {
	return c.listener.Addr().String()
}

func (c *cable) cut() {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.up = false
	for end := range c.ends {
		end.Close()
	}
}

func (c *cable) mend() {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.up = true
}

func (c *cable) accept() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		go c.carry(near)
	}
}

func (c *cable) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer far.Close()
	if !c.take(near, far) {
		return
	}
	go func() {
		_, _ = io.Copy(near, far)
		near.Close()
	}()
	_, _ = io.Copy(far, near)
	c.forget(near, far)
}

func (c *cable) take(ends ...net.Conn) bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, end := range ends {
		c.ends[end] = true
	}
	return c.up
}

func (c *cable) forget(ends ...net.Conn) {
	c.lock.Lock()
	defer c.lock.Unlock()
	for _, end := range ends {
		delete(c.ends, end)
	}
}
