// A client of oapi-codegen, generated into the folder api beside this file: go run . URL USERNAME
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"video-platform/clients/api"
)

type answer [2]any

func main() {
	log.SetFlags(0)
	url, username := os.Args[1], os.Args[2]
	ctx := context.Background()
	client, err := api.NewClientWithResponses(url)
	must(err)
	credentials := api.Credentials{Username: username, Password: "password123"}

	register, err := client.RegisterWithResponse(ctx, nil, credentials)
	must(err)
	login, err := client.LoginWithResponse(ctx, nil, credentials)
	must(err)
	if login.JSON200 == nil {
		log.Fatalf("login: %s", login.Status())
	}
	profile, err := client.ProfileWithResponse(ctx, nil, bearer(login.JSON200.Token))
	must(err)
	wrongPassword, err := client.LoginWithResponse(ctx, nil, api.Credentials{Username: username, Password: "wrongpassword"})
	must(err)
	badRequest, err := client.RegisterWithResponse(ctx, nil, api.Credentials{Username: "ab", Password: "password123"})
	must(err)

	must(json.NewEncoder(os.Stdout).Encode(map[string]answer{
		"register":      {register.StatusCode(), register.JSON200},
		"login":         {login.StatusCode(), login.JSON200},
		"profile":       {profile.StatusCode(), profile.JSON200},
		"wrongPassword": {wrongPassword.StatusCode(), wrongPassword.JSON401},
		"badRequest":    {badRequest.StatusCode(), badRequest.JSON400},
	}))
}

func bearer(token string) api.RequestEditorFn {
	return func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
