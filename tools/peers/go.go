// SPDX-License-Identifier: MIT
//
// weft-peer-go TASK SIZE OPERATIONS CPUS: what weft-bench measures, done by
// goroutines and channels. The arguments and the line that it prints are those
// of all peers, see boost-context.cpp.
//
// What weft does on one thread runs with GOMAXPROCS=1, what it does on two with
// 2. Only `wake` locks goroutines to threads: without that, the runtime would
// pass a message between two goroutines on one thread, and wake none. CPU time
// is that of the whole process, the garbage collector included.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

type run struct {
	operations, size int
	cpus             []int
	began            time.Time
	wallNs, cpuNs    int64
	details          []string
}

const (
	warmUpPart       = 20
	untimed          = 16
	clockProcessCpu  = 2
	maxNumber        = 1 << 40
	leastRounds      = 20 // of yields in mixed order
	senders          = 4
	branches         = 10
	sleepsOfEach     = 10
	shortestSleepNs  = 50e6
	longestSleepNs   = 150e6
	firstRandomState = 88172645463325252
)

func fail(verdict, why string) {
	fmt.Printf("%s %s\n", verdict, why)
	os.Exit(1)
}

func cpuClock() int64 {
	var ts syscall.Timespec

	_, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockProcessCpu,
		uintptr(unsafe.Pointer(&ts)), 0)
	if e != 0 {
		fail("failed", "clock_gettime: "+e.Error())
	}
	return ts.Nano()
}

func (r *run) begin() {
	r.cpuNs = -cpuClock()
	r.began = time.Now()
}

func (r *run) end() {
	r.wallNs = int64(time.Since(r.began))
	r.cpuNs += cpuClock()
}

func (r *run) detail(name string, value float64) {
	r.details = append(r.details, fmt.Sprintf(" %s=%.6g", name, value))
}

// The line of /proc/self/status that begins with key, in bytes.
func memory(key string) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		fail("unavailable", "/proc is not mounted")
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == key+":" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			return kib * 1024
		}
	}
	return 0
}

// xorshift64, as weft-bench draws.
func draw(state *uint64) uint64 {
	*state ^= *state << 13
	*state ^= *state >> 7
	*state ^= *state << 17
	return *state
}

// --- yield, spawn, alive ---

// All have started when the clock begins, and the first to come is timed till
// the last has done its share.
func (r *run) yieldAmong(order []chan bool, least int) {
	n := r.size
	rounds := r.operations/n + least
	atWork := n
	begun := false
	done := make(chan bool)

	for i := 0; i < n; i++ {
		var turn chan bool
		if order != nil {
			turn = order[i]
		}
		go func() {
			if turn != nil {
				<-turn
			}
			runtime.Gosched()
			if !begun {
				begun = true
				r.begin()
			}
			for i := rounds; i > 0; i-- {
				runtime.Gosched()
			}
			atWork--
			if atWork == 0 {
				r.end()
				done <- true
			}
		}()
	}
	if order != nil {
		runtime.Gosched() // all wait for their turn
		random := uint64(firstRandomState)
		for i := n; i > 1; i-- {
			k := draw(&random) % uint64(i)
			order[i-1], order[k] = order[k], order[i-1]
		}
		for _, turn := range order {
			turn <- true
		}
	}
	<-done
	r.operations = rounds * n
}

func yield(r *run) {
	r.yieldAmong(nil, 1)
}

func yieldMixed(r *run) {
	order := make([]chan bool, r.size)
	for i := range order {
		order[i] = make(chan bool, 1)
	}
	r.yieldAmong(order, leastRounds)
}

func spawn(r *run) {
	var all sync.WaitGroup
	rounds := r.operations/r.size + 1

	r.begin()
	for i := rounds; i > 0; i-- {
		all.Add(r.size)
		for k := r.size; k > 0; k-- {
			go all.Done()
		}
		all.Wait()
	}
	r.end()
	r.operations = rounds * r.size
}

func alive(r *run) {
	n := r.size
	never := make(chan int)
	started := 0

	runtime.GC()
	resident, tables := memory("VmRSS"), memory("VmPTE")
	r.begin()
	for i := n; i > 0; i-- {
		go func() {
			started++
			<-never
		}()
	}
	for started < n {
		runtime.Gosched()
	}
	r.end()
	r.detail("resident_bytes", (memory("VmRSS")-resident)/float64(n))
	r.detail("page_table_bytes", (memory("VmPTE")-tables)/float64(n))
	r.operations = n
}

// --- pingpong, wake, stream, ring ---

func (r *run) pingpong(prepare func(which int)) {
	there, back := make(chan int), make(chan int)
	total := r.operations + untimed

	go func() {
		prepare(1)
		for i := total; i > 0; i-- {
			back <- <-there
		}
	}()
	done := make(chan bool)
	go func() {
		prepare(0)
		for i := 0; i < total; i++ {
			if i == untimed {
				r.begin()
			}
			there <- i
			if <-back != i {
				fail("failed", "what came back")
			}
		}
		r.end()
		done <- true
	}()
	<-done
}

func pingpong(r *run) {
	r.pingpong(func(int) {})
}

func wake(r *run) {
	r.pingpong(func(which int) {
		runtime.LockOSThread()
		if r.cpus == nil {
			return
		}
		var set [128]uint64
		set[r.cpus[which]/64] = 1 << (r.cpus[which] % 64)
		_, _, e := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0,
			unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
		if e != 0 {
			fail("failed", "sched_setaffinity: "+e.Error())
		}
	})
}

func stream(r *run) {
	ch := make(chan int, r.size)
	total := r.operations + untimed

	done := make(chan bool)
	go func() {
		for i := 0; i < total; i++ {
			if <-ch != i {
				fail("failed", "the order of messages")
			}
		}
		done <- true
	}()
	go func() {
		for i := 0; i < total; i++ {
			if i == untimed {
				r.begin()
			}
			ch <- i
		}
		r.end()
		done <- true
	}()
	<-done
	<-done
}

// What is received from whichever of four channels has something.
func receiveAny(c *[4]chan int) int {
	select {
	case v := <-c[0]:
		return v
	case v := <-c[1]:
		return v
	case v := <-c[2]:
		return v
	case v := <-c[3]:
		return v
	}
}

func fourChannels(capacity int) *[4]chan int {
	c := [4]chan int{}
	for i := range c {
		c[i] = make(chan int, capacity)
	}
	return &c
}

func selectReady(r *run) {
	c := fourChannels(1)
	r.begin()
	for i := 0; i < r.operations; i++ {
		c[i%4] <- i
		if receiveAny(c) != i {
			fail("failed", "what was selected")
		}
	}
	r.end()
}

func selectWaiting(r *run) {
	c := fourChannels(0)
	done := make(chan bool)
	go func() {
		for i := 0; i < r.operations; i++ {
			if receiveAny(c) != i {
				fail("failed", "what was selected")
			}
		}
		done <- true
	}()
	r.begin()
	for i := 0; i < r.operations; i++ {
		c[i%4] <- i
	}
	r.end()
	<-done
}

func streamFour(r *run) {
	ch := make(chan int, r.size)
	each := r.operations/senders + 1
	sum := 0

	r.operations = each * senders
	for s := 0; s < senders; s++ {
		go func() {
			for i := 0; i < each+untimed; i++ {
				ch <- 1
			}
		}()
	}
	for i := 0; i < (each+untimed)*senders; i++ {
		if i == untimed*senders {
			r.begin()
		}
		sum += <-ch
	}
	r.end()
	if sum != (each+untimed)*senders {
		fail("failed", "the sum of the messages")
	}
}

func ring(r *run) {
	n := r.size
	links := make([]chan int, n)
	done := make(chan bool)

	for i := range links {
		links[i] = make(chan int)
	}
	for i := range links {
		from, to := links[i], links[(i+1)%n]
		go func() {
			for {
				token := <-from
				if token == 0 {
					r.end()
					done <- true
					return
				}
				to <- token - 1
			}
		}()
	}
	runtime.Gosched() // all wait for the token
	r.begin()
	links[0] <- r.operations
	<-done
}

// --- skynet, sieve, sleeps ---

func grow(up chan<- int, first, leaves, room int) {
	if leaves == 1 {
		up <- first
		return
	}
	n := branches
	if leaves < n {
		n = leaves
	}
	ch := make(chan int, room)
	for i := 0; i < n; i++ {
		share := (leaves + i) / n
		go grow(ch, first, share, room)
		first += share
	}
	sum := 0
	for i := 0; i < n; i++ {
		sum += <-ch
	}
	up <- sum
}

func skynet(r *run) {
	r.skynet(0)
}

// With room for the sums of all branches.
func skynetBuffered(r *run) {
	r.skynet(branches)
}

func (r *run) skynet(room int) {
	up := make(chan int)

	r.begin()
	go grow(up, 0, r.size, room)
	sum := <-up
	r.end()
	if sum != r.size*(r.size-1)/2 {
		fail("failed", "the sum of the leaves")
	}
	r.detail("peak_mb", (memory("VmHWM")+memory("VmPTE"))/1e6)
	r.operations = r.size
}

func filter(from <-chan int, to chan<- int, prime int, taken *int64) {
	n := int64(0)
	for number := range from {
		n++
		if number%prime != 0 {
			to <- number
		}
		*taken = n
	}
	close(to)
}

func sieve(r *run) {
	taken := make([]int64, r.size)
	ch := make(chan int)
	stop := int32(0)
	prime := 0

	r.begin()
	go func(to chan<- int) {
		for number := 2; atomic.LoadInt32(&stop) == 0; number++ {
			to <- number
		}
		close(to)
	}(ch)
	for i := 0; i < r.size; i++ {
		prime = <-ch
		next := make(chan int)
		go filter(ch, next, prime, &taken[i])
		ch = next
	}
	r.end()
	// As weft-bench counts: what filters have taken, and each prime.
	messages := int64(r.size)
	for _, n := range taken {
		messages += n
	}
	atomic.StoreInt32(&stop, 1)
	if !isNthPrime(prime, r.size) {
		fail("failed", "the last prime")
	}
	r.operations = int(messages)
}

func isNthPrime(candidate, n int) bool {
	isPrime := false
	for number := 2; number <= candidate; number++ {
		isPrime = true
		for d := 2; isPrime && d*d <= number; d++ {
			isPrime = number%d != 0
		}
		if isPrime {
			n--
		}
	}
	return isPrime && n == 0
}

func tenSleeps(r *run) {
	var all sync.WaitGroup
	random := uint64(firstRandomState)
	longest := int64(0)

	all.Add(r.size)
	gate := make(chan bool)
	for i := r.size; i > 0; i-- {
		go func() {
			asked := int64(0)
			<-gate
			for k := 0; k < sleepsOfEach; k++ {
				ns := int64(shortestSleepNs) +
					int64(draw(&random)%(longestSleepNs-shortestSleepNs))
				asked += ns
				time.Sleep(time.Duration(ns))
			}
			if asked > longest {
				longest = asked
			}
			all.Done()
		}()
	}
	runtime.Gosched() // all wait at the gate
	r.begin()
	close(gate)
	all.Wait()
	r.end()
	over := r.wallNs - longest
	r.detail("cpu_ms", float64(r.cpuNs)/1e6)
	r.detail("overshoot_ms", float64(over)/1e6)
	r.detail("wall_ms", float64(r.wallNs)/1e6)
	r.wallNs = over
	r.operations = r.size * sleepsOfEach
}

// --- the command line ---

type task struct {
	do      func(r *run)
	threads int  // 0: as many as there are CPUs
	fixed   bool // measured from cold
}

var tasks = map[string]task{
	"alive":               {alive, 1, true},
	"pingpong":            {pingpong, 1, false},
	"pingpong-pair":       {pingpong, 2, false},
	"ring":                {ring, 1, false},
	"select-ready":        {selectReady, 1, false},
	"select-waiting":      {selectWaiting, 1, false},
	"sieve":               {sieve, 1, true},
	"skynet":              {skynet, 1, true},
	"skynet-all":          {skynet, 0, true},
	"skynet-buffered":     {skynetBuffered, 1, true},
	"skynet-buffered-all": {skynetBuffered, 0, true},
	"spawn":               {spawn, 1, false},
	"stream":              {stream, 1, false},
	"stream-four":         {streamFour, 5, false},
	"stream-pair":         {stream, 2, false},
	"timers":              {tenSleeps, 1, true},
	"wake":                {wake, 2, false},
	"yield":               {yield, 1, false},
	"yield-mixed":         {yieldMixed, 1, false},
}

func usage() {
	names := []string{}
	for name := range tasks {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintln(os.Stderr,
		"usage: weft-peer-go TASK SIZE OPERATIONS CPUS, with CPUS none or A,B and one of these tasks:",
		strings.Join(names, " "))
	os.Exit(64)
}

func numbers(text, separator string, n int) []int {
	all := []int{}
	for _, part := range strings.Split(text, separator) {
		number, err := strconv.Atoi(part)
		if err != nil || number < 0 || number > maxNumber {
			usage()
		}
		all = append(all, number)
	}
	if len(all) != n {
		usage()
	}
	return all
}

// serve sends back what a connection receives.
func serve(c net.Conn) {
	buffer := make([]byte, 16*1024)
	for {
		n, err := c.Read(buffer)
		if n > 0 {
			_, err = c.Write(buffer[:n])
		}
		if err != nil {
			c.Close()
			return
		}
	}
}

// echo is the server for the workload net, on one thread; a signal ends it.
func echo() {
	runtime.GOMAXPROCS(1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println("unavailable", err)
		os.Exit(1)
	}
	fmt.Println("listening on", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go serve(c)
	}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "echo" {
		echo()
	}
	if len(os.Args) != 5 {
		usage()
	}
	t, known := tasks[os.Args[1]]
	if !known {
		usage()
	}
	r := run{size: numbers(os.Args[2], ",", 1)[0]}
	operations := numbers(os.Args[3], ",", 1)[0]
	if os.Args[4] != "none" {
		r.cpus = numbers(os.Args[4], ",", 2)
	}
	if t.threads > 0 {
		runtime.GOMAXPROCS(t.threads)
	}
	debug.SetMaxThreads(1000)
	if !t.fixed {
		r.operations = operations/warmUpPart + 1
		t.do(&r)
	}
	r.operations = operations
	t.do(&r)
	if r.wallNs < 1 {
		r.wallNs = 1
	}
	fmt.Printf("ok %d %d %d%s\n", r.operations, r.wallNs, r.cpuNs,
		strings.Join(r.details, ""))
}
