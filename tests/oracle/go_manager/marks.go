package main

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const patience = time.Minute

// now is the machine's monotonic clock in seconds, which other processes read too.
func now() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return float64(t.Nano()) / 1e9
}

// mark names something that happens to a resource: "applied", "written" or "gone".
type mark struct{ what, resource string }

// marks keeps when each of them happened, and lets others wait for it.
type marks struct {
	mutex   sync.Mutex
	changed *sync.Cond
	times   map[mark][]float64
}

func newMarks() *marks {
	m := &marks{times: map[mark][]float64{}}
	m.changed = sync.NewCond(&m.mutex)
	return m
}

func (m *marks) set(one mark) {
	at := now()
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.times[one] = append(m.times[one], at)
	m.changed.Broadcast()
}

// wait returns when it happened for the count-th time.
func (m *marks) wait(one mark, count int) (float64, error) {
	deadline := time.Now().Add(patience)
	defer time.AfterFunc(patience, m.changed.Broadcast).Stop()
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for len(m.times[one]) < count {
		if !time.Now().Before(deadline) {
			return 0, fmt.Errorf("%s was %s %d times, not %d", one.resource, one.what, len(m.times[one]), count)
		}
		m.changed.Wait()
	}
	return m.times[one][count-1], nil
}
