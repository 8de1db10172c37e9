// Runs Lua scripts as Argo CD does: reads one JSON request a line from stdin, writes one JSON answer a line to stdout.
//
// A script sees what Argo CD's own virtual machine gives it (util/lua of github.com/argoproj/argo-cd, at the versions of
// go.mod): package, base, table and two functions of os. There is no string and no math library. It ends after a second.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
)

type request struct {
	Script     string            `json:"script"`
	Object     any               `json:"object"`
	Parameters map[string]string `json:"parameters"`
}

// answer: Result is what the script returned. A table without entries is [], because Lua cannot tell which kind it is.
type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		if err := out.Encode(answerTo(lines.Bytes())); err != nil {
			os.Exit(1)
		}
	}
}

func answerTo(line []byte) answer {
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{Error: err.Error()}
	}
	result, err := run(asked)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Result: result}
}

func run(asked request) (json.RawMessage, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		function := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(function, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	safeOs := func(l *lua.LState) int {
		l.Push(l.SetFuncs(l.NewTable(), map[string]lua.LGFunction{"time": now}))
		return 1
	}
	state.PreloadModule(lua.OsLibName, safeOs)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	parameters := state.NewTable()
	for name, value := range asked.Parameters {
		parameters.RawSetString(name, lua.LString(value))
	}
	state.SetGlobal("actionParams", parameters)
	state.SetGlobal("obj", luajson.DecodeValue(state, asked.Object))
	if err := state.DoString(asked.Script); err != nil {
		return nil, err
	}
	return luajson.Encode(state.Get(-1))
}

func now(l *lua.LState) int {
	l.Push(lua.LNumber(time.Now().Unix()))
	return 1
}
