// Command pocketbase serves a new PocketBase with a collection of JSON records and some users, to be measured beside
// she: pocketbase DIR USERS. User I is userI@bench.test with the password "password-I". It prints where it listens.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"strconv"

	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want DIR USERS, got %d arguments", len(args))
	}
	users, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	app := pocketbase.NewWithConfig(pocketbase.Config{DefaultDataDir: args[0], HideStartBanner: true})
	if err := app.Bootstrap(); err != nil {
		return err
	}
	if err := app.RunAllMigrations(); err != nil {
		return err
	}
	// Requests are not logged: she logs none either, and PocketBase is to be seen at its best.
	app.Settings().Logs.MaxDays = 0
	if err := app.Save(app.Settings()); err != nil {
		return err
	}
	records := core.NewBaseCollection("records")
	records.CreateRule = types.Pointer(`@request.auth.id != ""`)
	records.Fields.Add(&core.JSONField{Name: "data", Required: true})
	if err := app.Save(records); err != nil {
		return err
	}
	collection, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}
	for i := range users {
		user := core.NewRecord(collection)
		user.SetEmail(fmt.Sprintf("user%d@bench.test", i))
		user.SetPassword(fmt.Sprintf("password-%d", i))
		if err := app.Save(user); err != nil {
			return err
		}
	}
	app.OnServe().BindFunc(func(e *core.ServeEvent) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		e.Listener, e.InstallerFunc = l, nil
		fmt.Printf("listening on http://%s\n", l.Addr())
		return e.Next()
	})
	return apis.Serve(app, apis.ServeConfig{HttpAddr: "127.0.0.1:0"})
}
