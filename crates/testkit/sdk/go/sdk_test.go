package sdk

// What an application does with the SDK, run in both encodings against a real node.

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const (
	invalidToken    = 3500
	forceDisconnect = 3503
	forceReconnect  = 3011
)

type suite struct {
	node      *node
	newClient func(string, centrifuge.Config) *centrifuge.Client
}

var scenarios = []func(*suite, *testing.T){
	(*suite).connectsWithAToken,
	(*suite).isRefusedWithAForeignToken,
	(*suite).receivesWhatIsPublishedOverHTTPInOrder,
	(*suite).publishesWithThePublishersName,
	(*suite).asksWhoIsPresent,
	(*suite).hearsJoinsAndLeaves,
	(*suite).readsTheHistory,
	(*suite).catchesUpAfterACut,
	(*suite).catchesUpAfterItWasSentAway,
	(*suite).isToldWhenItCannotCatchUp,
	(*suite).unsubscribesAndSubscribesAgain,
	(*suite).isUnsubscribedByTheServer,
	(*suite).isSentAwayForGood,
	(*suite).receivesThroughTheSubscriptionsOfItsToken,
	(*suite).isSubscribedByTheServer,
	(*suite).fetchesATokenWhenItsOwnIsExpired,
	(*suite).refreshesItsTokenAndAnswersPings,
	(*suite).subscribesWithATokenAndRefreshesIt,
	(*suite).subscribesToAPrivateChannelWithAToken,
	(*suite).learnsByItsCodeWhySomethingIsRefused,
	(*suite).goesWithoutHistoryWhereNothingIsKept,
}

func TestJSON(t *testing.T) {
	run(t, centrifuge.NewJsonClient)
}

func TestProtobuf(t *testing.T) {
	run(t, centrifuge.NewProtobufClient)
}

func run(t *testing.T, newClient func(string, centrifuge.Config) *centrifuge.Client) {
	t.Parallel()
	n, err := startNode()
	check(t, err)
	t.Cleanup(func() { check(t, n.stop()) })
	for _, scenario := range scenarios {
		t.Run(nameOf(scenario), func(t *testing.T) { scenario(&suite{n, newClient}, t) })
	}
}

func nameOf(scenario func(*suite, *testing.T)) string {
	name := runtime.FuncForPC(reflect.ValueOf(scenario).Pointer()).Name()
	return name[strings.LastIndex(name, ".")+1:]
}

var numbers atomic.Int64

// fresh names something for one test alone, so that none sees the channel or the user of another.
func fresh(kind string) string {
	return fmt.Sprintf("%s-%d", kind, numbers.Add(1))
}

func number(n int) object {
	return object{"n": n}
}

func (s *suite) connectsWithAToken(t *testing.T) {
	client := s.client(t, s.node.address, centrifuge.Config{})
	check(t, client.Connect())
	equal(t, len(client.connected.next(t).ClientID), 36)
}

func (s *suite) isRefusedWithAForeignToken(t *testing.T) {
	foreign := token(object{"sub": "eve"})
	client := s.client(t, s.node.address, centrifuge.Config{Token: foreign[:len(foreign)-6] + "AAAAAA"})
	check(t, client.Connect())
	equal(t, client.disconnected.next(t).Code, uint32(invalidToken))
}

func (s *suite) receivesWhatIsPublishedOverHTTPInOrder(t *testing.T) {
	channel := fresh("news")
	sub := s.user(t, fresh("user")).subscribe(t, channel)
	var values []any
	for n := range 100 {
		values = append(values, object{"n": n, "text": fmt.Sprintf("ä\n\"%d\"", n)})
		s.node.publish(t, channel, values[n])
	}
	sub.receives(t, 1, values...)
}

func (s *suite) publishesWithThePublishersName(t *testing.T) {
	channel := fresh("chat")
	of, to := s.user(t, "alice").subscribe(t, channel), s.user(t, "bob").subscribe(t, channel)
	_, err := of.Publish(context.Background(), encode(t, number(1)))
	check(t, err)
	publication := to.publications.next(t)
	equal(t, decode(t, publication.Data), plain(t, number(1)))
	equal(t, publication.Info.User, "alice")
	of.receives(t, 1, number(1))
}

func (s *suite) asksWhoIsPresent(t *testing.T) {
	channel := fresh("room")
	sub := s.user(t, "alice").subscribe(t, channel)
	s.user(t, "bob").subscribe(t, channel)
	presence, err := sub.Presence(context.Background())
	check(t, err)
	var users []string
	for _, info := range presence.Clients {
		users = append(users, info.User)
	}
	slices.Sort(users)
	equal(t, users, []string{"alice", "bob"})
	stats, err := sub.PresenceStats(context.Background())
	check(t, err)
	equal(t, stats.PresenceStats, centrifuge.PresenceStats{NumClients: 2, NumUsers: 2})
}

func (s *suite) hearsJoinsAndLeaves(t *testing.T) {
	channel := fresh("room")
	sub := s.user(t, "alice").subscribe(t, channel, centrifuge.SubscriptionConfig{JoinLeave: true})
	equal(t, sub.joins.next(t).User, "alice")
	other := s.user(t, "bob").subscribe(t, channel)
	equal(t, sub.joins.next(t).User, "bob")
	check(t, other.Unsubscribe())
	equal(t, sub.leaves.next(t).User, "bob")
}

func (s *suite) readsTheHistory(t *testing.T) {
	channel := fresh("news")
	sub := s.user(t, fresh("user")).subscribe(t, channel)
	for n := range 3 {
		s.node.publish(t, channel, n+1)
	}
	read := func(options ...centrifuge.HistoryOption) (values []any, epoch string) {
		history, err := sub.History(context.Background(), options...)
		check(t, err)
		equal(t, history.Offset, uint64(3))
		for _, publication := range history.Publications {
			values = append(values, decode(t, publication.Data))
		}
		return values, history.Epoch
	}
	none, epoch := read()
	forward, _ := read(centrifuge.WithHistoryLimit(2))
	backward, _ := read(centrifuge.WithHistoryLimit(2), centrifuge.WithHistoryReverse(true))
	since, _ := read(centrifuge.WithHistoryLimit(10), centrifuge.WithHistorySince(&centrifuge.StreamPosition{Offset: 1, Epoch: epoch}))
	equal(t, []any{none, forward, backward, since}, []any{[]any(nil), []any{1.0, 2.0}, []any{3.0, 2.0}, []any{2.0, 3.0}})
	_, err := sub.History(context.Background(), centrifuge.WithHistorySince(&centrifuge.StreamPosition{Offset: 1, Epoch: "other"}))
	refused(t, err, 112)
}

func (s *suite) catchesUpAfterACut(t *testing.T) {
	channel, path := fresh("news"), layCable(t, s.node.address)
	client := s.connectedClient(t, path.address(), centrifuge.Config{})
	sub := client.subscribe(t, channel)
	s.node.publish(t, channel, number(1))
	sub.receives(t, 1, number(1))
	path.cut()
	client.connecting.next(t)
	for n := 2; n <= 4; n++ {
		s.node.publish(t, channel, number(n))
	}
	path.mend()
	back := sub.subscribed.next(t)
	equal(t, []bool{back.WasRecovering, back.Recovered}, []bool{true, true})
	sub.receives(t, 2, number(2), number(3), number(4))
	s.node.publish(t, channel, number(5))
	sub.receives(t, 5, number(5))
}

func (s *suite) catchesUpAfterItWasSentAway(t *testing.T) {
	channel, user := fresh("news"), fresh("user")
	client := s.connectedClient(t, s.node.address, centrifuge.Config{
		Token:             token(object{"sub": user}),
		MinReconnectDelay: 500 * time.Millisecond,
		MaxReconnectDelay: 600 * time.Millisecond,
	})
	sub := client.subscribe(t, channel)
	s.node.api(t, "disconnect", object{"user": user, "disconnect": object{"code": forceReconnect, "reason": "force reconnect"}})
	equal(t, client.connecting.next(t).Code, uint32(forceReconnect))
	s.node.publish(t, channel, number(1))
	equal(t, sub.subscribed.next(t).Recovered, true)
	sub.receives(t, 1, number(1))
}

func (s *suite) isToldWhenItCannotCatchUp(t *testing.T) {
	channel, path := fresh("short:news"), layCable(t, s.node.address)
	client := s.connectedClient(t, path.address(), centrifuge.Config{})
	sub := client.subscribe(t, channel)
	path.cut()
	client.connecting.next(t)
	for n := 1; n <= 3; n++ {
		s.node.publish(t, channel, number(n))
	}
	path.mend()
	back := sub.subscribed.next(t)
	equal(t, []bool{back.WasRecovering, back.Recovered}, []bool{true, false})
	s.node.publish(t, channel, number(4))
	sub.receives(t, 4, number(4))
}

func (s *suite) unsubscribesAndSubscribesAgain(t *testing.T) {
	channel := fresh("news")
	sub := s.user(t, fresh("user")).subscribe(t, channel)
	check(t, sub.Unsubscribe())
	sub.unsubscribed.next(t)
	eventually(t, func() bool {
		return s.node.api(t, "presence_stats", object{"channel": channel})["num_clients"] == 0.0
	})
	s.node.publish(t, channel, number(1))
	check(t, sub.Subscribe())
	sub.subscribed.next(t)
	sub.receives(t, 1, number(1))
	s.node.publish(t, channel, number(2))
	sub.receives(t, 2, number(2))
}

func (s *suite) isUnsubscribedByTheServer(t *testing.T) {
	channel, user := fresh("news"), fresh("user")
	sub := s.user(t, user).subscribe(t, channel)
	s.node.api(t, "unsubscribe", object{"user": user, "channel": channel})
	equal(t, sub.unsubscribed.next(t).Code, uint32(2000))
}

func (s *suite) isSentAwayForGood(t *testing.T) {
	user := fresh("user")
	client := s.user(t, user)
	s.node.api(t, "disconnect", object{"user": user})
	equal(t, client.disconnected.next(t).Code, uint32(forceDisconnect))
}

func (s *suite) receivesThroughTheSubscriptionsOfItsToken(t *testing.T) {
	channel := fresh("inbox")
	config := centrifuge.Config{Token: token(object{"sub": "reader", "channels": []string{channel}})}
	client := s.connectedClient(t, s.node.address, config)
	equal(t, client.subscribed.next(t).Channel, channel)
	s.node.publish(t, channel, number(1))
	publication := client.publications.next(t)
	equal(t, publication.Channel, channel)
	equal(t, decode(t, publication.Data), plain(t, number(1)))
}

func (s *suite) isSubscribedByTheServer(t *testing.T) {
	channel, user := fresh("inbox"), fresh("user")
	client := s.user(t, user)
	s.node.api(t, "subscribe", object{"user": user, "channel": channel})
	s.node.publish(t, channel, number(1))
	equal(t, client.subscribed.next(t).Channel, channel)
	equal(t, client.publications.next(t).Channel, channel)
}

func (s *suite) fetchesATokenWhenItsOwnIsExpired(t *testing.T) {
	var fetched atomic.Int64
	client := s.connectedClient(t, s.node.address, centrifuge.Config{
		GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			if fetched.Add(1) == 1 {
				return token(object{"sub": "late", "exp": inSeconds(-5)}), nil
			}
			return token(object{"sub": "late"}), nil
		},
	})
	equal(t, fetched.Load(), int64(2))
	equal(t, client.State(), centrifuge.StateConnected)
}

func (s *suite) refreshesItsTokenAndAnswersPings(t *testing.T) {
	var fetched atomic.Int64
	client := s.connectedClient(t, s.node.address, centrifuge.Config{
		GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			fetched.Add(1)
			return token(object{"sub": "busy", "exp": inSeconds(2)}), nil
		},
	})
	eventually(t, func() bool { return fetched.Load() >= 4 })
	equal(t, len(client.connecting)+len(client.errors), 0)
	equal(t, client.State(), centrifuge.StateConnected)
}

func (s *suite) subscribesWithATokenAndRefreshesIt(t *testing.T) {
	channel, user := fresh("closed:room"), fresh("user")
	var fetched atomic.Int64
	sub := s.user(t, user).subscribe(t, channel, centrifuge.SubscriptionConfig{
		GetToken: func(event centrifuge.SubscriptionTokenEvent) (string, error) {
			fetched.Add(1)
			return token(object{"sub": user, "channel": event.Channel, "exp": inSeconds(2)}), nil
		},
	})
	eventually(t, func() bool { return fetched.Load() >= 3 })
	equal(t, len(sub.subscribing)+len(sub.errors), 0)
	s.node.publish(t, channel, number(1))
	sub.receives(t, 1, number(1))
}

func (s *suite) subscribesToAPrivateChannelWithAToken(t *testing.T) {
	channel, user := "$"+fresh("private"), fresh("user")
	client := s.user(t, user)
	denied := client.listen(t, channel, centrifuge.SubscriptionConfig{})
	equal(t, denied.unsubscribed.next(t).Code, uint32(103))
	check(t, client.RemoveSubscription(denied.Subscription))
	client.subscribe(t, channel, centrifuge.SubscriptionConfig{Token: token(object{"sub": user, "channel": channel})})
}

func (s *suite) learnsByItsCodeWhySomethingIsRefused(t *testing.T) {
	client, background := s.user(t, fresh("user")), context.Background()
	for channel, code := range map[string]uint32{fresh("closed:room"): 103, "unknown:room": 102, strings.Repeat("x", 256): 107} {
		equal(t, client.listen(t, channel, centrifuge.SubscriptionConfig{}).unsubscribed.next(t).Code, code)
	}
	_, err := client.Publish(background, "news", encode(t, number(1)))
	refused(t, err, 103)
	_, err = client.Presence(background, "news")
	refused(t, err, 103)
	_, err = client.Presence(background, "plain:news")
	refused(t, err, 108)
	_, err = client.PresenceStats(background, "plain:news")
	refused(t, err, 108)
	_, err = client.History(background, "plain:news")
	refused(t, err, 108)
	_, err = client.RPC(background, "anything", encode(t, number(1)))
	refused(t, err, 108)
	equal(t, client.State(), centrifuge.StateConnected)
}

func (s *suite) goesWithoutHistoryWhereNothingIsKept(t *testing.T) {
	channel := fresh("plain:news")
	sub := s.user(t, fresh("user")).subscribe(t, channel)
	equal(t, []bool{sub.first.Recoverable, sub.first.Positioned}, []bool{false, false})
	s.node.publish(t, channel, number(1))
	equal(t, decode(t, sub.publications.next(t).Data), plain(t, number(1)))
}

func refused(t *testing.T, err error, code uint32) {
	t.Helper()
	var refusal *centrifuge.Error
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Fatalf("got %v, want code %d", err, code)
	}
}

func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("it did not come to be")
		}
	}
}
