// Verifies an access token of a session by the gateway's public keys, and prints whose it is: go run ./jwks URL TOKEN
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func main() {
	log.SetFlags(0)
	url, text := os.Args[1], os.Args[2]
	answer, err := http.Get(url + "/.well-known/jwks.json")
	must(err)
	defer answer.Body.Close()
	var keys jose.JSONWebKeySet
	must(json.NewDecoder(answer.Body).Decode(&keys))

	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	must(err)
	var claims jwt.Claims
	var own struct {
		Username string `json:"username"`
	}
	must(token.Claims(&keys, &claims, &own))
	must(claims.Validate(jwt.Expected{AnyAudience: jwt.Audience{"video-platform"}, Time: time.Now()}))
	fmt.Print(own.Username)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
