package sdk

// Clients and subscriptions whose events can be waited for one by one.

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const waitTime = 10 * time.Second

// events of one kind, in the order in which they came.
type events[E any] chan E

func newEvents[E any]() events[E] {
	return make(chan E, 1024)
}

func (e events[E]) take(event E) {
	e <- event
}

func (e events[E]) next(t *testing.T) E {
	t.Helper()
	select {
	case event := <-e:
		return event
	case <-time.After(waitTime):
		var event E
		t.Fatalf("no %T within %v", event, waitTime)
		return event
	}
}

type actor struct {
	*centrifuge.Client
	connected    events[centrifuge.ConnectedEvent]
	connecting   events[centrifuge.ConnectingEvent]
	disconnected events[centrifuge.DisconnectedEvent]
	subscribed   events[centrifuge.ServerSubscribedEvent]
	publications events[centrifuge.ServerPublicationEvent]
	errors       events[centrifuge.ErrorEvent]
}

// client makes a client that is not connected yet. Delays are short unless the test sets its own.
func (s *suite) client(t *testing.T, address string, config centrifuge.Config) *actor {
	t.Helper()
	if config.MaxReconnectDelay == 0 {
		config.MinReconnectDelay, config.MaxReconnectDelay = 50*time.Millisecond, 200*time.Millisecond
	}
	if config.Token == "" && config.GetToken == nil {
		config.Token = token(object{"sub": fresh("user")})
	}
	a := &actor{
		Client:       s.newClient("ws://"+address+"/connection/websocket", config),
		connected:    newEvents[centrifuge.ConnectedEvent](),
		connecting:   newEvents[centrifuge.ConnectingEvent](),
		disconnected: newEvents[centrifuge.DisconnectedEvent](),
		subscribed:   newEvents[centrifuge.ServerSubscribedEvent](),
		publications: newEvents[centrifuge.ServerPublicationEvent](),
		errors:       newEvents[centrifuge.ErrorEvent](),
	}
	a.OnConnected(a.connected.take)
	a.OnConnecting(a.connecting.take)
	a.OnDisconnected(a.disconnected.take)
	a.OnSubscribed(a.subscribed.take)
	a.OnPublication(a.publications.take)
	a.OnError(a.errors.take)
	t.Cleanup(a.Close)
	return a
}

func (s *suite) connectedClient(t *testing.T, address string, config centrifuge.Config) *actor {
	t.Helper()
	a := s.client(t, address, config)
	check(t, a.Connect())
	a.connecting.next(t)
	a.connected.next(t)
	return a
}

func (s *suite) user(t *testing.T, name string) *actor {
	t.Helper()
	return s.connectedClient(t, s.node.address, centrifuge.Config{Token: token(object{"sub": name})})
}

type listener struct {
	*centrifuge.Subscription
	first        centrifuge.SubscribedEvent
	subscribing  events[centrifuge.SubscribingEvent]
	subscribed   events[centrifuge.SubscribedEvent]
	unsubscribed events[centrifuge.UnsubscribedEvent]
	publications events[centrifuge.PublicationEvent]
	joins        events[centrifuge.JoinEvent]
	leaves       events[centrifuge.LeaveEvent]
	errors       events[centrifuge.SubscriptionErrorEvent]
}

func (a *actor) listen(t *testing.T, channel string, config centrifuge.SubscriptionConfig) *listener {
	t.Helper()
	config.MinResubscribeDelay, config.MaxResubscribeDelay = 50*time.Millisecond, 200*time.Millisecond
	sub, err := a.NewSubscription(channel, config)
	check(t, err)
	l := &listener{
		Subscription: sub,
		subscribing:  newEvents[centrifuge.SubscribingEvent](),
		subscribed:   newEvents[centrifuge.SubscribedEvent](),
		unsubscribed: newEvents[centrifuge.UnsubscribedEvent](),
		publications: newEvents[centrifuge.PublicationEvent](),
		joins:        newEvents[centrifuge.JoinEvent](),
		leaves:       newEvents[centrifuge.LeaveEvent](),
		errors:       newEvents[centrifuge.SubscriptionErrorEvent](),
	}
	l.OnSubscribing(l.subscribing.take)
	l.OnSubscribed(l.subscribed.take)
	l.OnUnsubscribed(l.unsubscribed.take)
	l.OnPublication(l.publications.take)
	l.OnJoin(l.joins.take)
	l.OnLeave(l.leaves.take)
	l.OnError(l.errors.take)
	check(t, sub.Subscribe())
	l.subscribing.next(t)
	return l
}

func (a *actor) subscribe(t *testing.T, channel string, config ...centrifuge.SubscriptionConfig) *listener {
	t.Helper()
	l := a.listen(t, channel, append(config, centrifuge.SubscriptionConfig{})[0])
	l.first = l.subscribed.next(t)
	return l
}

// receives expects one publication after the other, with offsets that leave none out, and then no more.
func (l *listener) receives(t *testing.T, first uint64, values ...any) {
	t.Helper()
	for index, value := range values {
		publication := l.publications.next(t)
		equal(t, decode(t, publication.Data), plain(t, value))
		equal(t, publication.Offset, first+uint64(index))
	}
	equal(t, len(l.publications), 0)
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	check(t, err)
	return data
}

func decode(t *testing.T, data []byte) any {
	t.Helper()
	var value any
	check(t, json.Unmarshal(data, &value))
	return value
}

// plain is a value as it comes back from JSON.
func plain(t *testing.T, value any) any {
	t.Helper()
	return decode(t, encode(t, value))
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}
