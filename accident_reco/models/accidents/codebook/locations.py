"""Codes of the rubrics CARACTERISTIQUES and LIEUX, word for word from the official description, with English words.

One line per code: ``code | français | English``. Valid values are derived from them in the package.
"""

CARACTERISTIQUES = {
    "lum": (
        "Lumière",
        "Light",
        """
        1 | Plein jour | Daylight
        2 | Crépuscule ou aube | Dusk or dawn
        3 | Nuit sans éclairage public | Night, no street lighting
        4 | Nuit avec éclairage public non allumé | Night, street lighting off
        5 | Nuit avec éclairage public allumé | Night, street lighting on
        """,
    ),
    "agg": (
        "Localisation",
        "Built-up area",
        """
        1 | Hors agglomération | Outside a built-up area
        2 | En agglomération | In a built-up area
        """,
    ),
    "int": (
        "Intersection",
        "Intersection",
        """
        1 | Hors intersection | Not at an intersection
        2 | Intersection en X | X intersection
        3 | Intersection en T | T intersection
        4 | Intersection en Y | Y intersection
        5 | Intersection à plus de 4 branches | Intersection of more than 4 arms
        6 | Giratoire | Roundabout
        7 | Place | Square
        8 | Passage à niveau | Level crossing
        9 | Autre intersection | Other intersection
        """,
    ),
    "atm": (
        "Conditions atmosphériques",
        "Weather",
        """
        1 | Normale | Normal
        2 | Pluie légère | Light rain
        3 | Pluie forte | Heavy rain
        4 | Neige - grêle | Snow or hail
        5 | Brouillard - fumée | Fog or smoke
        6 | Vent fort - tempête | Strong wind or storm
        7 | Temps éblouissant | Dazzling sun
        8 | Temps couvert | Overcast
        9 | Autre | Other
        """,
    ),
    "col": (
        "Type de collision",
        "Collision",
        """
        1 | Deux véhicules - frontale | Two vehicles, head-on
        2 | Deux véhicules - par l'arrière | Two vehicles, from behind
        3 | Deux véhicules - par le côté | Two vehicles, from the side
        4 | Trois véhicules et plus - en chaîne | Three or more vehicles, in a chain
        5 | Trois véhicules et plus - collisions multiples | Three or more vehicles, multiple collisions
        6 | Autre collision | Other collision
        7 | Sans collision | No collision
        """,
    ),
}

LIEUX = {
    "catr": (
        "Catégorie de route",
        "Road category",
        """
        1 | Autoroute | Motorway
        2 | Route nationale | National road
        3 | Route départementale | Departmental road
        4 | Voie communale | Municipal road
        5 | Hors réseau public | Off the public network
        6 | Parc de stationnement ouvert à la circulation publique | Public car park
        7 | Routes de métropole urbaine | Metropolitan road
        9 | Autre | Other
        """,
    ),
    "circ": (
        "Régime de circulation",
        "Traffic regime",
        """
        1 | À sens unique | One way
        2 | Bidirectionnelle | Two way
        3 | À chaussées séparées | Separate carriageways
        4 | Avec voies d'affectation variable | Reversible lanes
        """,
    ),
    "vosp": (
        "Voie réservée",
        "Reserved lane",
        """
        0 | Sans objet | None
        1 | Piste cyclable | Cycle track
        2 | Bande cyclable | Cycle lane
        3 | Voie réservée | Reserved lane
        """,
    ),
    "prof": (
        "Profil en long",
        "Gradient",
        """
        1 | Plat | Flat
        2 | Pente | Slope
        3 | Sommet de côte | Hilltop
        4 | Bas de côte | Foot of a hill
        """,
    ),
    "plan": (
        "Tracé en plan",
        "Alignment",
        """
        1 | Partie rectiligne | Straight
        2 | En courbe à gauche | Left bend
        3 | En courbe à droite | Right bend
        4 | En « S » | S bend
        """,
    ),
    "surf": (
        "État de la surface",
        "Road surface",
        """
        1 | Normale | Normal
        2 | Mouillée | Wet
        3 | Flaques | Puddles
        4 | Inondée | Flooded
        5 | Enneigée | Snow-covered
        6 | Boue | Mud
        7 | Verglacée | Icy
        8 | Corps gras - huile | Grease or oil
        9 | Autre | Other
        """,
    ),
    "infra": (
        "Aménagement - infrastructure",
        "Infrastructure",
        """
        0 | Aucun | None
        1 | Souterrain - tunnel | Underpass or tunnel
        2 | Pont - autopont | Bridge or flyover
        3 | Bretelle d'échangeur ou de raccordement | Slip road
        4 | Voie ferrée | Railway
        5 | Carrefour aménagé | Laid-out junction
        6 | Zone piétonne | Pedestrian zone
        7 | Zone de péage | Toll area
        8 | Chantier | Road works
        9 | Autres | Other
        """,
    ),
    "situ": (
        "Situation de l'accident",
        "Position of the accident",
        """
        0 | Aucun | None
        1 | Sur chaussée | On the carriageway
        2 | Sur bande d'arrêt d'urgence | On the hard shoulder
        3 | Sur accotement | On the verge
        4 | Sur trottoir | On the pavement
        5 | Sur piste cyclable | On a cycle track
        6 | Sur autre voie spéciale | On another special lane
        8 | Autres | Other
        """,
    ),
    "env1": (
        "Point école (jusqu'en 2018)",
        "School nearby (until 2018)",
        """
        0 | Non | No
        3 | Proximité d'une école | Near a school
        99 | Sans objet | Not applicable
        """,
    ),
}
